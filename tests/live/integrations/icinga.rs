//! A running Icinga 2 with the files of contrib/icinga2, read through its REST API and its PerfdataWriter.

use crate::companion::run::connleak;
use crate::integrations::daemon::{Daemon, SHOWN, Story, ask_json, contrib, missing, plugins, tool};
use crate::lab::Lab;
use crate::lab::run::{CLOSEWAIT, Check, GROWTH, IDLE, ORPHANS, STATES, TENANTS, perfdata};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Values that go on with time, so that two runs differ.
const MOVING: [&str; 6] = ["close_wait_oldest", "drained_after", "idle_oldest", "opened", "closed", "growth"];

/// An instance with its own place for everything.
pub struct Icinga {
    pub dir: TempDir,
    pub name: &'static str,
}

impl Icinga {
    /// With certificates of its own authority.
    pub fn new(name: &'static str) -> Icinga {
        let icinga = Icinga { dir: tempfile::tempdir().unwrap(), name };
        for part in ["certs", "cache", "log", "spool", "run"] {
            fs::create_dir(icinga.path(part)).unwrap();
        }
        plugins(icinga.dir.path());
        for name in ["commands", "services"] {
            fs::write(icinga.path(&format!("{name}.conf")), contrib(&format!("icinga2/connleak-{name}.conf"))).unwrap();
        }
        icinga
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its program with all its places.
    pub fn command(&self, words: &[&str]) -> Command {
        let dir = self.dir.path().display();
        let mut command = Command::new("icinga2");
        command.env("ICINGA2_USER", "root").env("ICINGA2_GROUP", "root").args(words);
        let places = [("Data", ""), ("Cache", "cache"), ("Log", "log"), ("Spool", "spool"), ("InitRun", "run")];
        command.args(places.iter().flat_map(|(what, place)| ["-D".to_owned(), format!("{what}Dir={dir}/{place}")]));
        command.args(["-D", &format!("PidPath={dir}/run/pid"), "-D", &format!("PluginDir={dir}/plugins")]);
        command.args(["-D", &format!("NodeName={}", self.name), "-D", &format!("ZoneName={}", self.name)]);
        command
    }

    pub fn authority(&self) {
        tool(&mut self.command(&["pki", "new-ca"])).unwrap();
        self.certificate(self, self);
    }

    /// A certificate for `of`, signed here, put where `into` keeps its own.
    pub fn certificate(&self, of: &Icinga, into: &Icinga) {
        let file = |kind: &str| into.path("certs").join(format!("{}.{kind}", of.name)).display().to_string();
        let (key, request, signed) = (file("key"), file("csr"), file("crt"));
        tool(&mut self.command(&["pki", "new-cert", "--cn", of.name, "--key", &key, "--csr", &request])).unwrap();
        tool(&mut self.command(&["pki", "sign-csr", "--csr", &request, "--cert", &signed])).unwrap();
        fs::copy(self.path("ca/ca.crt"), into.path("certs/ca.crt")).unwrap();
    }

    /// The shipped files beside what the test needs; validated as an operator would.
    pub fn configure(&self, objects: &str) {
        let dir = self.dir.path().display();
        let config = format!(
            "include <itl>\ninclude \"{dir}/commands.conf\"\nobject CheckerComponent \"checker\" {{}}\n\
             object PerfdataWriter \"perfdata\" {{\n  rotation_interval = 1s\n  host_perfdata_path = \"{dir}/spool/host\"\n  \
             service_perfdata_path = \"{dir}/spool/service\"\n  host_temp_path = \"{dir}/spool/h\"\n  \
             service_temp_path = \"{dir}/spool/s\"\n}}\n{objects}\n"
        );
        fs::write(self.path("icinga2.conf"), config).unwrap();
        let config = self.path("icinga2.conf").display().to_string();
        tool(&mut self.command(&["daemon", "-C", "-c", &config])).unwrap_or_else(|why| panic!("{why}"));
    }

    pub fn start(&self) -> Daemon {
        let config = self.path("icinga2.conf").display().to_string();
        Daemon::start(&mut self.command(&["daemon", "-c", &config]), self.path("daemon.log"))
    }

    /// The last record of a service in the PerfdataWriter's files that holds `part`.
    pub fn written(&self, service: &str, part: &str) -> Option<String> {
        let files = fs::read_dir(self.path("spool")).unwrap().map(|entry| entry.unwrap().path());
        let texts = files.filter(|file| file.is_file()).filter_map(|file| fs::read_to_string(file).ok());
        let wanted = format!("SERVICEDESC::{service}\t");
        let lines: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.into_iter().rfind(|line| line.contains(&wanted) && line.contains(part))
    }
}

/// The API of an instance on this address.
pub struct Api(pub &'static str);

impl Api {
    pub const OBJECTS: &str = "object ApiUser \"root\" {\n  password = \"x\"\n  permissions = [ \"*\" ]\n}\n";

    fn call(&self, arguments: &[&str], path: &str) -> Option<Value> {
        let login = ["--insecure", "--user", "root:x", "--header", "Accept: application/json"];
        ask_json(&[&login, arguments].concat(), &format!("https://{}:5665/v1/{path}", self.0))
    }

    pub fn service(&self, name: &str) -> Option<Value> {
        let path = format!("objects/services/h!{}", name.replace(' ', "%20"));
        Some(self.call(&[], &path)?["results"][0]["attrs"].clone())
    }

    pub fn is_connected(&self, endpoint: &str) -> bool {
        let found = self.call(&[], &format!("objects/endpoints/{endpoint}"));
        found.is_some_and(|found| found["results"][0]["attrs"]["connected"] == true)
    }

    /// Runs a check now, and waits for what it says.
    pub fn look(&self, daemon: &mut Daemon, name: &str) -> Value {
        let before = daemon.until("API", || self.service(name))["last_check"].clone();
        let order = json!({"type": "Service", "filter": format!("service.name==\"{name}\""), "force": true});
        daemon.until("order", || self.call(&["--data", &order.to_string()], "actions/reschedule-check"));
        daemon.until(&format!("new result of '{name}'"), || {
            self.service(name).filter(|service| service["last_check"].as_f64() > before.as_f64())
        })
    }

    /// Looks until it is as wanted: a regular run may come between.
    pub fn until(&self, daemon: &mut Daemon, name: &str, state: f64, kind: f64) -> Value {
        let mut seen = Value::Null;
        for _ in 0..6 {
            seen = self.look(daemon, name);
            if seen["state"] == state && seen["state_type"] == kind {
                return seen;
            }
        }
        panic!("'{name}' is not {state} of type {kind}: {seen:#}");
    }
}

pub const SOFT: f64 = 0.0;
pub const HARD: f64 = 1.0;

/// Label, value, unit, warning, critical as a service's result has them.
fn metrics(service: &Value) -> Vec<perfdata::Metric> {
    let items = service["last_check_result"]["performance_data"].as_array().unwrap();
    let text: Vec<_> = items.iter().map(|item| item.as_str().unwrap()).collect();
    perfdata::parse(&format!("X OK - x | {}\n", text.join(" "))).unwrap_or_else(|why| panic!("{why}: {text:?}")).metrics
}

/// All that the check tells arrives, and the same in the file.
fn assert_arrives(icinga: &Icinga, daemon: &mut Daemon, service: &Value, check: Check, args: &[&str]) {
    let (name, arrived) = (service["name"].as_str().unwrap(), metrics(service));
    let told = check.run(args).output().metrics;
    let labels = |metrics: &[perfdata::Metric]| metrics.iter().map(|metric| metric.label.clone()).collect::<Vec<_>>();
    assert_eq!(labels(&arrived), labels(&told), "{name}");
    for (arrived, told) in arrived.iter().zip(&told) {
        let limits = |metric: &perfdata::Metric| (metric.unit.clone(), metric.warning.clone(), metric.critical.clone());
        assert_eq!(limits(arrived), limits(told), "{name} {}", told.label);
        let moves = MOVING.contains(&told.label.as_str());
        assert!(moves || (arrived.value - told.value).abs() < 1e-6, "{name}: {arrived:?}, {told:?}");
    }
    // The writer leaves out what is empty at the end.
    let items = service["last_check_result"]["performance_data"].as_array().unwrap();
    let items: Vec<_> = items.iter().map(|item| item.as_str().unwrap().trim_end_matches(';')).collect();
    let record = daemon.until("record", || icinga.written(name, &format!("SERVICEPERFDATA::{}", items[0])));
    let data = record.split("SERVICEPERFDATA::").nth(1).unwrap().split('\t').next().unwrap();
    let written: Vec<_> = data.split(' ').map(|item| item.trim_end_matches(';')).collect();
    assert_eq!(written.len(), items.len(), "{record}");
    for (written, item) in written.iter().zip(&items) {
        let (label, rest) = written.split_once('=').unwrap();
        assert!(item.starts_with(&format!("{label}=")) && !rest.is_empty(), "{written}, {item}");
        if !MOVING.contains(&label) {
            assert_eq!(written, item, "{record}");
        }
    }
}

fn objects(name: &str, dir: &Path, service: &str) -> String {
    let state = dir.join("state");
    let services = dir.join("services.conf");
    format!(
        "include \"{}\"\nobject Endpoint \"{name}\" {{ host = \"127.0.0.1\" }}\nobject Zone \"{name}\" {{ endpoints = [ \"{name}\" ] }}\n\
         {}object ApiListener \"api\" {{ bind_host = \"127.0.0.1\" }}\n\
         object Host \"h\" {{\n  check_command = \"dummy\"\n  vars.connleak[\"memcached\"] = {{\n    \
         closewait_min_age = \"0s\"\n    closewait_verbose = true\n    closewait_peer = [ \"127.0.0.1\", \"::1\" ]\n    \
         conn_growth_side = \"client\"\n    conn_growth_limit = \"30\"\n    conn_growth_critical = \"50\"\n    \
         conn_growth_state_dir = \"{state}\"\n    orphans_after_stop_process = \"{service}\"\n    \
         orphans_after_stop_wait = \"0s\"\n    orphans_after_stop_state_dir = \"{state}\"\n    \
         conn_states_side = \"client\"\n    conn_states_state = [ \"CLOSE_WAIT:5:20\" ]\n    \
         conn_tenants_key = \"user\"\n    conn_tenants_side = \"client\"\n    conn_tenants_limit = \"30\"\n    \
         conn_tenants_critical = \"50\"\n  }}\n  vars.connleak[\"mysql\"] = {{\n    conn_idle_side = \"client\"\n    \
         conn_idle_min_age = \"0s\"\n    conn_idle_critical = \"3\"\n  }}\n}}\n",
        services.display(),
        Api::OBJECTS,
        state = state.display(),
    )
}

#[test]
fn a_leak_is_seen_and_its_end_too() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["icinga2", "curl"]) {
            return lab.skip(&why);
        }
        let (icinga, mut story) = (Icinga::new("solo"), Story::begin(lab));
        icinga.authority();
        icinga.configure(&objects(icinga.name, icinga.dir.path(), &story.name));
        let (mut daemon, api) = (icinga.start(), Api("127.0.0.1"));
        let names = [
            "closewait memcached",
            "conn_growth memcached",
            "conn_states memcached",
            "conn_tenants memcached",
            "conn_idle mysql",
            "orphans_after_stop memcached",
        ];
        for name in names {
            api.until(&mut daemon, name, 0.0, HARD);
        }
        assert_eq!(api.service("conn_tenants mysql"), None, "nobody told its tenants");
        let silent = lab.connected("127.0.0.1:3306", 4);
        story.leak(lab);
        for name in names {
            let soft = api.until(&mut daemon, name, 2.0, SOFT);
            assert!(soft["check_attempt"].as_f64() < soft["max_check_attempts"].as_f64(), "{soft:#}");
            let hard = api.until(&mut daemon, name, 2.0, HARD);
            let output = hard["last_check_result"]["output"].as_str().unwrap();
            let service = if name.ends_with("mysql") { "mysql:3306: " } else { "memcached:11211: " };
            assert!(output.contains(service) && !output.contains('|'), "{output}");
        }
        let state = icinga.path("other_state");
        let dir = state.to_str().unwrap();
        let close = ["-Pmemcached", "--min-age=0s"];
        let growth = ["-Pmemcached", "--side=client", "--limit=30", "-c50", "--state-dir", dir];
        let orphans = ["-Pmemcached", "--process", &story.name, "--wait=0s", "--state-dir", dir];
        // A look some time after another knows what was opened and closed, as Icinga's do.
        GROWTH.run(&growth);
        std::thread::sleep(Duration::from_millis(1500));
        let states = ["-Pmemcached", "--side=client", "--state=CLOSE_WAIT:5:20"];
        let tenants = ["-Pmemcached", "--side=client", "--key=user", "--limit=30", "-c50"];
        let idle = ["-Pmysql", "--side=client", "--min-age=0s", "-c3"];
        let runs: [(Check, &[&str]); 6] = [
            (CLOSEWAIT, &close),
            (GROWTH, &growth),
            (STATES, &states),
            (TENANTS, &tenants),
            (IDLE, &idle),
            (ORPHANS, &orphans),
        ];
        for (name, (check, args)) in names.iter().zip(runs) {
            let service = api.look(&mut daemon, name);
            assert_arrives(&icinga, &mut daemon, &service, check, args);
        }
        let verbose = api.service(names[0]).unwrap()["last_check_result"]["output"].to_string();
        assert!(verbose.contains(&format!("owner {SHOWN}[{}]", story.client_pid()).replace('"', "\\\"")), "{verbose}");
        story.release();
        drop(silent);
        for name in names {
            api.until(&mut daemon, name, 0.0, HARD);
        }
    });
}

/// What connleak discover prints is taken as it is into a host.
#[test]
fn discovered_services_run() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["icinga2", "curl"]) {
            return lab.skip(&why);
        }
        let mut server = lab.peer();
        server.say("rename 6d61726961646264");
        server.say("listen a 127.0.0.1:3306");
        server.say("listen b 127.0.0.1:3307");
        let mut other = lab.peer();
        other.say("listen c 127.0.0.1:4711");
        let vars = connleak(&["discover", "-o", "icinga", "--all"]);
        assert!(vars.starts_with("vars.connleak[\"4711\"] = {\n  closewait_port = \"4711\"\n"), "{vars}");
        let icinga = Icinga::new("solo");
        icinga.authority();
        icinga.configure(&format!(
            "include \"{}\"\nobject Endpoint \"solo\" {{}}\nobject Zone \"solo\" {{ endpoints = [ \"solo\" ] }}\n\
             {}object ApiListener \"api\" {{ bind_host = \"127.0.0.1\" }}\nobject Host \"h\" {{\n  \
             check_command = \"dummy\"\n{vars}}}\n",
            icinga.path("services.conf").display(),
            Api::OBJECTS,
        ));
        let (mut daemon, api) = (icinga.start(), Api("127.0.0.1"));
        for (service, named) in [
            ("closewait mysql", "mysql:3306 "),
            ("conn_idle mysql:3307", "mysql:3307 "),
            ("conn_states 4711", "port 4711 "),
        ] {
            let seen = api.until(&mut daemon, service, 0.0, HARD);
            assert!(seen["last_check_result"]["output"].as_str().unwrap().contains(named), "{seen:#}");
        }
    });
}
