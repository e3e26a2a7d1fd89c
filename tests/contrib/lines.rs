//! Systems that take a whole command line: a definition for each check, its options as comments.

use super::options::{self, CHECKS, Check};

const WRITTEN: &str = "Written from --help: BLESS=1 cargo test --test contrib";
const PLUGINS: &str = "/usr/lib/nagios/plugins";

/// `#   -p, --port N[,N...]`, a line each.
fn options(check: &Check) -> String {
    options::of(*check).iter().map(|option| format!("#   {}\n", option.synopsis)).collect()
}

/// A definition for each check below its options.
fn each(head: &str, definition: impl Fn(&Check) -> String) -> String {
    let mut text = head.to_owned();
    for check in CHECKS {
        text += &format!("\n# {}\n{}{}", check.name(), options(&check), definition(&check));
    }
    text
}

pub fn nagios() -> String {
    let head = format!(
        "# Commands for Nagios: check_command check_closewait!memcached!-w 5 -c 20\n\
         # $ARG1$ is the profile, $ARG2$ what else is wanted. {WRITTEN}\n"
    );
    each(&head, |check| {
        let name = check.name();
        format!("define command {{\n    command_name  {name}\n    command_line  $USER1$/{name} -P $ARG1$ $ARG2$\n}}\n")
    })
}

pub fn nrpe() -> String {
    let head = format!(
        "# Commands for NRPE without arguments from outside: copy a line for each service. Goes into\n\
         # /etc/nagios/nrpe.d. {WRITTEN}\n"
    );
    each(&head, |check| {
        let (name, regularly) = (check.name(), options::regularly(*check));
        format!("command[{name}_memcached]={PLUGINS}/{name} -P memcached{regularly}\n")
    })
}

pub fn nrpe_arguments() -> String {
    let head = format!(
        "# Commands for NRPE with arguments: check_nrpe -c check_closewait -a '-P memcached -w 5'. Only for an nrpe\n\
         # built with --enable-command-args (Debian's is not) and dont_blame_nrpe=1: whoever may connect then\n\
         # chooses the options, files among them. {WRITTEN}\n"
    );
    each(&head, |check| format!("command[{0}]={PLUGINS}/{0} $ARG1$\n", check.name()))
}

pub fn sensu() -> String {
    let head = format!(
        "# Checks for Sensu Go: sensuctl create -f FILE. They run on agents with the subscription connleak-memcached,\n\
         # from the asset connleak (connleak-asset.yml); without assets drop runtime_assets. {WRITTEN}\n"
    );
    let definition = |check: &Check| {
        format!(
            "---\ntype: CheckConfig\napi_version: core/v2\nmetadata:\n  name: {name}-memcached\n  namespace: default\n\
             spec:\n  command: {name} -P memcached{regularly}\n  interval: 60\n  timeout: 30\n  publish: true\n  \
             subscriptions:\n    - connleak-memcached\n  runtime_assets:\n    - connleak\n  \
             output_metric_format: nagios_perfdata\n",
            name = check.name(),
            regularly = options::regularly(*check),
        )
    };
    each(&head, definition)
}
