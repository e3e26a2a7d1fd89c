//! A running Nagios 4 with the files of contrib/nagios, read through its status.dat.

use crate::companion::run::connleak;
use crate::integrations::daemon::{Daemon, Story, contrib, missing, plugins, tool};
use crate::lab::Lab;
use crate::lab::run::perfdata;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

type Status = BTreeMap<String, String>;

/// What a site has beside our files.
const SITE: &str = "\
define host {
    host_name localhost
    address 127.0.0.1
    max_check_attempts 1
    contact_groups admins
}
define contact {
    contact_name admin
    host_notification_commands true
    service_notification_commands true
    host_notification_period 24x7
    service_notification_period 24x7
}
define contactgroup {
    contactgroup_name admins
    alias admins
    members admin
}
define command {
    command_name true
    command_line /bin/true
}
define timeperiod {
    timeperiod_name 24x7
    alias always
    sunday 00:00-24:00
    monday 00:00-24:00
    tuesday 00:00-24:00
    wednesday 00:00-24:00
    thursday 00:00-24:00
    friday 00:00-24:00
    saturday 00:00-24:00
}
";

/// A minute lasts a second, so that the shipped intervals are.
fn configure(dir: &Path, services: &str) -> String {
    fs::write(dir.join("commands.cfg"), contrib("nagios/connleak-commands.cfg")).unwrap();
    fs::write(dir.join("services.cfg"), services).unwrap();
    fs::write(dir.join("site.cfg"), SITE).unwrap();
    fs::write(dir.join("resource.cfg"), format!("$USER1$={}/plugins\n", dir.display())).unwrap();
    fs::create_dir_all(dir.join("results")).unwrap();
    let main = "cfg_file=D/commands.cfg\ncfg_file=D/services.cfg\ncfg_file=D/site.cfg\nresource_file=D/resource.cfg\n\
        log_file=D/nagios.log\nobject_cache_file=D/objects.cache\nprecached_object_file=D/precached\n\
        status_file=D/status.dat\nstatus_update_interval=1\nlock_file=D/lock\ntemp_file=D/tmp\ntemp_path=D\n\
        check_result_path=D/results\ncommand_file=D/cmd\nquery_socket=D/qh\nstate_retention_file=D/retention\n\
        nagios_user=root\nnagios_group=root\ninterval_length=1\nprocess_performance_data=1\ncheck_for_updates=0\n\
        check_external_commands=0\nlog_service_retries=1\nillegal_macro_output_chars=`~$&|'\"<>\nservice_inter_check_delay_method=n\n";
    let path = dir.join("nagios.cfg");
    fs::write(&path, main.replace('D', &dir.display().to_string())).unwrap();
    path.display().to_string()
}

fn status(dir: &Path, service: &str) -> Option<Status> {
    let text = fs::read_to_string(dir.join("status.dat")).ok()?;
    let block = |block: &str| -> Status {
        let lines = block.split("\n\t}").next().unwrap_or("").lines();
        lines.filter_map(|line| line.trim().split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
    };
    text.split("servicestatus {").skip(1).map(block).find(|status| status["service_description"] == service)
}

/// Waits for a state, SOFT 0 or HARD 1.
fn until(daemon: &mut Daemon, dir: &Path, service: &str, state: &str, kind: &str) -> Status {
    let is_so = |status: &Status| {
        status["has_been_checked"] == "1" && status["current_state"] == state && status["state_type"] == kind
    };
    daemon.until(&format!("'{service}' in {state} {kind}"), || status(dir, service).filter(is_so))
}

#[test]
fn a_leak_is_seen_and_its_end_too() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["nagios4"]) {
            return lab.skip(&why);
        }
        let (place, mut story) = (tempfile::tempdir().unwrap(), Story::begin(lab));
        let dir = place.path();
        plugins(dir);
        let services = contrib("nagios/connleak-services.cfg");
        let verify =
            |config: &str| tool(Command::new("nagios4").args(["-v", config])).unwrap_or_else(|why| panic!("{why}"));
        let verified = verify(&configure(dir, &services));
        assert!(verified.contains("Total Warnings: 0"), "{verified}");

        let state = format!("--state-dir {}", dir.join("state").display());
        let changed = [
            ("-w 5 -c 20", "-w 5 -c 20 --min-age 0s".to_owned()),
            (
                "check_conn_growth!memcached",
                format!("check_conn_growth!memcached!--side client --limit 30 -c 50 {state}"),
            ),
            (
                "check_conn_states!memcached",
                "check_conn_states!memcached!--side client --state CLOSE_WAIT:5:20".to_owned(),
            ),
            (
                "check_conn_idle!memcached",
                "check_conn_idle!memcached!-p 3306 --side client --min-age 0s -c 3".to_owned(),
            ),
            ("--key unit", "--key user --side client --limit 30 -c 50".to_owned()),
            ("--unit memcached.service", format!("--process {} --wait 0s {state}", story.name)),
        ];
        let services = changed.iter().fold(services, |text, (from, to)| {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            text.replace(from, to)
        });
        let config = configure(dir, &services);
        let mut daemon = Daemon::start(Command::new("nagios4").arg(&config), dir.join("daemon.log"));
        let names =
            ["closewait", "growth", "states", "idle", "tenants", "orphans"].map(|name| format!("memcached {name}"));
        let names = names.each_ref().map(String::as_str);
        for name in names {
            until(&mut daemon, dir, name, "0", "1");
        }
        story.leak(lab);
        let silent = lab.connected("127.0.0.1:3306", 4);
        for name in names {
            let hard = until(&mut daemon, dir, name, "2", "1");
            assert_eq!((hard["current_attempt"].as_str(), hard["max_attempts"].as_str()), ("3", "3"), "{hard:?}");
            let told = format!("{} | {}\n", hard["plugin_output"], hard["performance_data"]);
            let output = perfdata::parse(&told).unwrap_or_else(|why| panic!("{why}: {hard:?}"));
            assert_eq!(output.state, "CRITICAL");
            let labels: Vec<_> = output.metrics.iter().map(|metric| metric.label.as_str()).collect();
            let wanted: &[&str] = match name {
                "memcached closewait" => &[
                    "close_wait",
                    "close_wait_young",
                    "established",
                    "close_wait_ratio",
                    "close_wait_oldest",
                    "ghosts",
                    "spares",
                ],
                "memcached growth" => {
                    &["connections", "used", "limit", "growth", "left", "suspects", "idle_oldest", "opened", "closed"]
                }
                "memcached states" => &[
                    "sockets",
                    "established",
                    "syn_sent",
                    "syn_recv",
                    "fin_wait1",
                    "fin_wait2",
                    "time_wait",
                    "close",
                    "close_wait",
                    "last_ack",
                    "listen",
                    "closing",
                    "new_syn_recv",
                    "time_wait_ratio",
                    "accept_queue",
                    "half_open",
                    "stuck",
                    "stuck_oldest",
                    "ephemeral_ports",
                ],
                "memcached idle" => &[
                    "idle",
                    "never_used",
                    "no_keepalive",
                    "spares",
                    "established",
                    "idle_share",
                    "idle_oldest",
                    "unread",
                    "unsent",
                ],
                "memcached tenants" => &[
                    "share_max",
                    "close_wait_max",
                    "idle_max",
                    "outliers",
                    "tenants",
                    "connections",
                    "unknown",
                    "pooled",
                    "pooler_clients",
                    "pooler_servers",
                    "share_other",
                    "tenant_root",
                ],
                _ => &["orphans", "held", "kernel", "listen", "bound", "time_wait", "new", "drained_after"],
            };
            assert_eq!(labels, wanted, "{hard:?}");
            let (label, value, unit, warning, critical) = match name {
                "memcached closewait" => ("close_wait", 25.0, "", "5", "20"),
                "memcached growth" => ("used", 83.3, "%", "", "50"),
                "memcached states" => ("close_wait", 25.0, "", "5", "20"),
                "memcached idle" => ("idle", 4.0, "", "50", "3"),
                "memcached tenants" => ("share_max", 83.33, "%", "50", "50"),
                // The client's; those that the kernel keeps of the service, whose timers run, are not judged.
                _ => ("orphans", 25.0, "", "", "0"),
            };
            let metric = output.metrics.iter().find(|metric| metric.label == label).unwrap();
            let limits = (metric.unit.as_str(), metric.warning.as_str(), metric.critical.as_str());
            assert!((metric.value - value).abs() < 0.01 && limits == (unit, warning, critical), "{metric:?}");
        }
        // Two of the three attempts before it were soft.
        let log = fs::read_to_string(dir.join("nagios.log")).unwrap();
        assert!(log.contains("SERVICE ALERT: localhost;memcached closewait;CRITICAL;SOFT;1;"), "{log}");
        assert!(log.contains("SERVICE ALERT: localhost;memcached closewait;CRITICAL;HARD;3;"), "{log}");
        story.release();
        drop(silent);
        for name in names {
            until(&mut daemon, dir, name, "0", "1");
        }
    });
}

/// What connleak discover prints is taken as it is, beside the shipped template.
#[test]
fn discovered_services_run() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["nagios4"]) {
            return lab.skip(&why);
        }
        let place = tempfile::tempdir().unwrap();
        let dir = place.path();
        plugins(dir);
        let mut server = lab.peer();
        server.say("rename 6d61726961646264");
        server.say("listen a 127.0.0.1:3306");
        server.say("listen b 127.0.0.1:3307");
        let mut other = lab.peer();
        other.say("listen c 127.0.0.1:4711");
        let template = contrib("nagios/connleak-services.cfg");
        let template = template.split_once("\n}\n").unwrap().0.to_owned() + "\n}\n";
        let config = configure(dir, &(template + &connleak(&["discover", "-o", "nagios", "--all"])));
        let verified = tool(Command::new("nagios4").args(["-v", &config])).unwrap_or_else(|why| panic!("{why}"));
        assert!(verified.contains("Total Warnings: 0") && verified.contains("Checked 12 services"), "{verified}");
        let mut daemon = Daemon::start(Command::new("nagios4").arg(&config), dir.join("daemon.log"));
        for (service, named) in
            [("mysql closewait", "mysql:3306: "), ("mysql:3307 states", "mysql:3307: "), ("4711 idle", "port 4711: ")]
        {
            let seen = until(&mut daemon, dir, service, "0", "1");
            assert!(seen["plugin_output"].contains(named), "{seen:?}");
        }
    });
}
