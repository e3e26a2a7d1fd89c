//! Zabbix: the agent's parameters, and a template with discovery, items, triggers.

use super::options::{CHECKS, Check};
use connleak::base::fnv::fnv64;

/// Numbers that are kept, with their units; Zabbix keeps each for a year.
const KEPT: [(&str, &[(&str, &str)]); 4] = [
    (
        "closewait",
        &[
            ("close_wait", ""),
            ("close_wait_oldest", "s"),
            ("close_wait_ratio", "%"),
            ("established", ""),
            ("ghosts", ""),
        ],
    ),
    ("conn_growth", &[("connections", ""), ("growth", "/min"), ("left", "s"), ("limit", ""), ("used", "%")]),
    ("conn_idle", &[("idle", ""), ("idle_oldest", "s"), ("never_used", "")]),
    (
        "conn_states",
        &[
            ("accept_queue", "%"),
            ("ephemeral_ports", "%"),
            ("fin_wait1", ""),
            ("half_open", "%"),
            ("stuck", ""),
            ("time_wait", ""),
        ],
    ),
];

fn kept() -> impl Iterator<Item = (Check, &'static [(&'static str, &'static str)])> {
    let find = |check: &Check| KEPT.iter().find(|(name, _)| *name == check.short());
    CHECKS.into_iter().filter_map(move |check| Some((check, find(&check)?.1)))
}

pub fn agent() -> String {
    "# For the Zabbix agent, either of both: goes into /etc/zabbix/zabbix_agent2.d or zabbix_agentd.d. Whoever controls the\n\
     # Zabbix server chooses the options of a check, as agents run what they are asked for; the agent itself refuses\n\
     # characters that a shell would obey (UnsafeUserParameters=0). Written: BLESS=1 cargo test --test contrib\n\
     UserParameter=connleak.version,connleak --version\n\
     UserParameter=connleak.discover,connleak discover -o zabbix\n\
     UserParameter=connleak.check[*],/usr/lib/nagios/plugins/check_$1 $2 -o json\n"
        .to_owned()
}

/// As Zabbix wants them: of version 4, random once and the same ever after.
fn uuid(of: &str) -> String {
    let (high, low) = (fnv64(of.as_bytes()), fnv64(format!("{of} low").as_bytes()));
    let mut digits = format!("{high:016x}{low:016x}").into_bytes();
    (digits[12], digits[16]) = (b'4', b'8');
    String::from_utf8(digits).unwrap()
}

fn key(what: &str, check: Check) -> String {
    format!("connleak.{what}[{},\"{{#CONNLEAK.OPTIONS}}\"]", check.short())
}

/// An item that is a part of what a check tells; `made`: its preprocessing.
fn part(check: Check, what: &str, made: &str, more: &str) -> String {
    let (key, of) = (key(what, check), check.short());
    format!(
        "        - uuid: {uuid}\n          name: '{{#CONNLEAK.NAME}} {of}: {what}'\n          type: DEPENDENT\n          \
         key: '{key}'\n          delay: '0'\n{more}          preprocessing:\n{made}          master_item:\n            \
         key: '{master}'\n",
        uuid = uuid(&key),
        master = self::key("check", check),
    )
}

/// By JSONPath; what is unknown is left out, where that is no error.
fn picked(path: &str, may_lack: bool) -> String {
    let path = path.replace('\'', "''");
    let discard = if may_lack { "              error_handler: DISCARD_VALUE\n" } else { "" };
    format!("            - type: JSONPATH\n              parameters:\n                - '{path}'\n{discard}")
}

/// State and summary in one value: items of one answer may come in any order, and an event would name what was said
/// a minute ago.
const TOLD: &str = "            - type: JAVASCRIPT\n              parameters:\n                - |\n                  \
    var told = JSON.parse(value);\n                  return told.state + ': ' + told.summary;\n";

fn trigger(check: Check, state: &str, expression: &str, (which, priority): (u8, &str)) -> String {
    let of = check.short();
    format!(
        "            - uuid: {uuid}\n              expression: '{expression}'\n              \
         name: 'connleak: {{#CONNLEAK.NAME}} {of} is {state}'\n              \
         event_name: '{{#CONNLEAK.NAME}} {of} {{ITEM.VALUE{which}}}'\n              priority: {priority}\n",
        uuid = uuid(&format!("{of} {state}")),
    )
}

/// What is told, with the triggers that name it.
fn told(check: Check) -> String {
    let item = format!("/connleak/{}", key("told", check));
    let begins = |state: &str| format!("find({item},,\"regexp\",\"^{state}:\")=1");
    let text = "          history: 31d\n          trends: '0'\n          value_type: TEXT\n";
    let triggers = [
        trigger(check, "WARNING", &begins("WARNING"), (1, "WARNING")),
        trigger(check, "CRITICAL", &begins("CRITICAL"), (1, "HIGH")),
    ];
    part(check, "told", TOLD, text) + "          trigger_prototypes:\n" + &triggers.concat()
}

/// The state as a number, with the triggers that look at some time of it.
fn state(check: Check) -> String {
    let (of, value) = (check.short(), format!("/connleak/{}", key("state", check)));
    let valuemap = "          valuemap:\n            name: 'connleak state'\n";
    let mut text = part(check, "state", &picked("$.exit_code", false), valuemap) + "          trigger_prototypes:\n";
    // A host that is short of time is UNKNOWN now and then.
    let unknown = format!("min({value},{{$CONNLEAK.UNKNOWN}})=3 and length(last(/connleak/{}))>=0", key("told", check));
    text += &trigger(check, "UNKNOWN", &unknown, (2, "AVERAGE"));
    text += &format!(
        "            - uuid: {}\n              expression: 'nodata({value},{{$CONNLEAK.NODATA}})=1'\n              \
         name: 'connleak: nothing known of {{#CONNLEAK.NAME}} {of}'\n              priority: AVERAGE\n              \
         dependencies:\n                - name: '{SILENT}'\n                  expression: '{SILENCE}'\n",
        uuid(&format!("{of} nodata")),
    );
    text
}

const SILENT: &str = "connleak: the agent is silent";
const SILENCE: &str = "nodata(/connleak/connleak.version,{$CONNLEAK.NODATA})=1";

/// All prototypes of a check.
fn prototypes((check, kept): (Check, &[(&str, &str)])) -> String {
    let master = key("check", check);
    let mut text = format!(
        "        - uuid: {}\n          name: '{{#CONNLEAK.NAME}} {}'\n          key: '{master}'\n          delay: 1m\n          \
         history: 1h\n          trends: '0'\n          value_type: TEXT\n",
        uuid(&master),
        check.short()
    );
    text += &(told(check) + &state(check));
    for (metric, units) in kept {
        let path = format!("$.metrics[?(@.name=='{metric}')].value.first()");
        let units = if units.is_empty() { String::new() } else { format!("          units: '{units}'\n") };
        text += &part(check, metric, &picked(&path, true), &format!("          value_type: FLOAT\n{units}"));
    }
    text
}

pub fn template() -> String {
    let head = format!(
        "# Import it (Configuration, Templates, Import; or configuration.import of the API), link the template 'connleak' to hosts\n\
         # whose agent has connleak.conf. A trigger of state alone stays OK for ever where an agent is dead: hence nodata.\n\
         # Written: BLESS=1 cargo test --test contrib\n\
         zabbix_export:\n  version: '6.0'\n  date: '2026-11-28T00:00:00Z'\n  groups:\n    - uuid: a571c0d144b14fd4a87a9d9b2aa9fcd6\n      \
         name: Templates/Applications\n  templates:\n    - uuid: {}\n      template: connleak\n      name: connleak\n      \
         description: 'TCP connection leaks, from the kernel: services are found by what listens, each is checked every minute.'\n      \
         groups:\n        - name: Templates/Applications\n      items:\n        - uuid: {}\n          name: 'connleak: version'\n          \
         key: connleak.version\n          delay: 1m\n          history: 7d\n          trends: '0'\n          value_type: CHAR\n          \
         triggers:\n            - uuid: {}\n              expression: '{SILENCE}'\n              name: '{SILENT}'\n              \
         priority: AVERAGE\n      discovery_rules:\n        - uuid: {}\n          name: 'connleak: services'\n          \
         key: connleak.discover\n          delay: 10m\n          lifetime: 7d\n          item_prototypes:\n",
        uuid("template"),
        uuid("version"),
        uuid("silent"),
        uuid("discover"),
    );
    let prototypes: String = kept().map(prototypes).collect();
    // Two levels deeper than written above, as the rule is in the template.
    let prototypes: String = prototypes.lines().map(|line| format!("    {line}\n")).collect();
    let states = ["OK", "WARNING", "CRITICAL", "UNKNOWN"].iter().enumerate();
    let states: String = states
        .map(|(value, name)| format!("            - value: '{value}'\n              newvalue: {name}\n"))
        .collect();
    format!(
        "{head}{prototypes}      macros:\n        - macro: '{{$CONNLEAK.NODATA}}'\n          value: 5m\n          \
         description: 'For how long nothing may be heard.'\n        - macro: '{{$CONNLEAK.UNKNOWN}}'\n          value: 5m\n          \
         description: 'For how long a check may be UNKNOWN.'\n      valuemaps:\n        - uuid: {}\n          \
         name: 'connleak state'\n          mappings:\n{states}",
        uuid("states"),
    )
}
