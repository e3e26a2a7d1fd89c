//! A master and an agent of Icinga 2 in two namespaces: the leak is the agent's, the master shows it.

use crate::integrations::daemon::{Story, missing};
use crate::integrations::icinga::{Api, HARD, Icinga, SOFT};
use crate::lab::Lab;
use crate::lab::run::CLOSEWAIT;

const MASTER: &str = "10.99.0.1";
const AGENT: &str = "10.99.0.2";

/// What both sides know of the cluster.
fn zones() -> String {
    format!(
        "object Endpoint \"master\" {{ host = \"{MASTER}\" }}\nobject Endpoint \"agent\" {{ host = \"{AGENT}\" }}\n\
         object Zone \"master\" {{ endpoints = [ \"master\" ] }}\n\
         object Zone \"agent\" {{\n  endpoints = [ \"agent\" ]\n  parent = \"master\"\n}}\n"
    )
}

#[test]
fn a_leak_of_the_agent_is_shown_by_the_master() {
    Lab::test(|_master| {
        Lab::test(|agent_lab| {
            if let Some(why) = missing(&["icinga2", "curl"]) {
                return agent_lab.skip(&why);
            }
            agent_lab.join(MASTER, AGENT);
            let (master, agent) = (Icinga::new("master"), Icinga::new("agent"));
            master.authority();
            master.certificate(&agent, &agent);
            let services = master.path("services.conf");
            let host = "object Host \"h\" {\n  zone = \"master\"\n  check_command = \"dummy\"\n  vars.agent_endpoint = \"agent\"\n  \
                vars.connleak = [ \"memcached\" ]\n  vars.closewait_min_age = \"0s\"\n}\n";
            master.configure(&format!(
                "include \"{}\"\n{}{}object ApiListener \"api\" {{ bind_host = \"{MASTER}\" }}\n{host}",
                services.display(),
                zones(),
                Api::OBJECTS
            ));
            let listener = format!("bind_host = \"{AGENT}\"\n  accept_commands = true");
            agent.configure(&format!("{}object ApiListener \"api\" {{\n  {listener}\n}}\n", zones()));

            let (mut story, _agent_daemon) = (Story::begin(agent_lab), agent.start());
            let api = Api(MASTER);
            let mut daemon = agent_lab.outside(|| master.start());
            agent_lab.outside(|| daemon.until("connected agent", || api.is_connected("agent").then_some(())));
            let name = "closewait memcached";
            let mut until = |state, kind| agent_lab.outside(|| api.until(&mut daemon, name, state, kind));
            until(0.0, HARD);
            story.leak(agent_lab);
            until(2.0, SOFT);
            let shown = until(2.0, HARD);
            let (output, source) = (&shown["last_check_result"]["output"], &shown["last_check_result"]["check_source"]);
            assert!(output.as_str().unwrap().contains(" 25 client sockets") && source == "agent", "{shown:#}");
            // It is nowhere else.
            let here = agent_lab.outside(|| CLOSEWAIT.run(&["-Pmemcached", "--min-age=0s"]));
            assert_eq!((here.code, here.value("close_wait")), (0, 0.0), "{here:?}");
            story.release();
            until(0.0, HARD);
        });
    });
}
