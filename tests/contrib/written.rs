//! The files that are written by hand: what their own tools say of them, and where there is none
//! their structure.

use super::options::CHECKS;
use super::{contrib, read};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Skips where a tool is missing; a failure where nothing may be skipped.
fn has(test: &str, tool: &str) -> bool {
    if Command::new(tool).arg("--version").output().is_ok() {
        return true;
    }
    assert!(std::env::var_os("REQUIRE_LIVE").is_none_or(|value| value != "1"), "REQUIRE_LIVE: {test}: no {tool}");
    println!("SKIP {test}: {tool} is not installed");
    false
}

/// A file with the checks where they were built.
fn with_built_checks(text: &str) -> String {
    CHECKS.iter().fold(text.to_owned(), |text, check| {
        text.replace(&format!("/usr/lib/nagios/plugins/{} ", check.name()), &format!("{} ", check.0))
    })
}

const UNITS: [&str; 5] = [
    "prometheus/connleak-textfile.service",
    "prometheus/connleak-textfile.timer",
    "systemd/connleak@.service",
    "systemd/connleak@.timer",
    "systemd/connleak-mail@.service",
];

#[test]
fn units_are_good_by_systemd() {
    if !has("units_are_good_by_systemd", "systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let paths = UNITS.map(|unit| {
        let path = dir.path().join(Path::new(unit).file_name().unwrap());
        fs::write(&path, with_built_checks(&read(unit))).unwrap();
        path
    });
    let analyze = |words: &[&str], file: &str| {
        let path = dir.path().join(file);
        let output = Command::new("systemd-analyze").args(words).arg(&path).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{file}: {output:?}");
    };
    // Manual pages are not installed here.
    for file in ["connleak-textfile.timer", "connleak-textfile.service", "connleak@memcached.timer"] {
        if file.contains('@') {
            for kind in ["timer", "service"] {
                let from = dir.path().join(format!("connleak@.{kind}"));
                fs::copy(from, dir.path().join(format!("connleak@memcached.{kind}"))).unwrap();
            }
        }
        analyze(&["verify", "--man=no"], file);
    }
    assert!(paths.iter().all(|path| path.exists()));
    // Of 100; what a unit without any hardening has is 96.
    for file in ["connleak-textfile.service", "connleak@.service"] {
        analyze(&["security", "--offline=true", "--threshold=30"], file);
    }
}

/// Each line of a crontab, run as cron does, on a machine without any leak.
#[test]
fn cron_lines_run_and_say_nothing_where_all_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state").display().to_string();
    for (file, jobs) in [("cron/connleak", 2), ("prometheus/connleak-textfile.cron", 4)] {
        let on_change = contrib().join("cron/connleak-on-change").display().to_string();
        let text = with_built_checks(&read(file)).replace("/usr/local/sbin/connleak-on-change", &on_change);
        let text = text.replace("/var/lib/prometheus/node-exporter", dir.path().to_str().unwrap());
        let run = |command: &str| {
            let told = dir.path().join("session_state");
            Command::new("sh").args(["-c", command]).env("STATE_DIRECTORY", told).output().unwrap()
        };
        let is_job = |line: &&str| line.starts_with('*');
        assert!(text.lines().filter(is_job).count() == jobs, "{file}");
        for line in text.lines().filter(is_job) {
            assert!(!line.contains('%'), "cron makes a new line of it: {line}");
            let command = line.splitn(7, ' ').nth(6).unwrap();
            let command = command.replace("check_conn_growth -P", &format!("check_conn_growth --state-dir {state} -P"));
            let output = run(&command);
            assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
            let failing = command.replace("memcached -v", "no-such-profile");
            for time in 0..2 {
                let output = run(&failing);
                let told = String::from_utf8_lossy(&output.stdout);
                let is_told = told.contains("UNKNOWN - unknown profile 'no-such-profile'");
                assert!(failing == command || is_told == (time == 0), "once: {output:?}");
            }
        }
    }
    for name in ["closewait", "conn_growth", "conn_idle", "conn_states"] {
        let file = fs::read_to_string(dir.path().join(format!("connleak_{name}.prom"))).unwrap();
        assert_eq!(file.matches("connleak_state{").count(), 2, "{file}");
    }
}

/// Mails: where the state changes, once a day while a problem lasts, each time where nothing can be remembered.
#[test]
fn a_state_is_told_on_change_and_daily() {
    let dir = tempfile::tempdir().unwrap();
    let (check, told) = (dir.path().join("check"), dir.path().join("session_state"));
    let tell = |state: &str, place: &Path| {
        fs::write(&check, format!("echo says {state}; exit {state}")).unwrap();
        let mut command = Command::new(contrib().join("cron/connleak-on-change"));
        let output = command.env("STATE_DIRECTORY", place).args(["x", "sh"]).arg(&check).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for (state, is_told) in [
        ("0", false),
        ("2", true),
        ("2", false),
        ("1", true),
        ("1", false),
        ("3", true),
        ("0", true),
        ("0", false),
        ("2", true),
    ] {
        let wanted = if is_told { format!("says {state}\n") } else { String::new() };
        assert_eq!(tell(state, &told), wanted);
    }
    let age = |hours: &str| {
        let file = told.join("x");
        assert!(
            Command::new("touch").args(["-d", &format!("{hours} hours ago")]).arg(file).status().unwrap().success()
        );
    };
    age("23");
    assert_eq!(tell("2", &told), "");
    age("24");
    assert_eq!((tell("2", &told).as_str(), tell("2", &told).as_str()), ("says 2\n", ""));
    for _ in 0..2 {
        assert_eq!(tell("2", Path::new("/dev/null")), "says 2\n");
    }
}

/// Sensu isn't in Debian: what its reference says of CheckConfig and Asset.
#[test]
fn sensu_resources_have_the_documented_fields() {
    let resources = |file: &str| -> Vec<Value> {
        let text = read(file);
        let documents = text.split("\n---\n").skip(1);
        documents.map(|document| serde_yaml::from_str(document).unwrap_or_else(|why| panic!("{file}: {why}"))).collect()
    };
    let checks = resources("sensu/connleak-checks.yml");
    assert_eq!(checks.len(), CHECKS.len());
    for (resource, check) in checks.iter().zip(CHECKS) {
        assert_eq!(
            (resource["type"].as_str(), resource["api_version"].as_str()),
            (Some("CheckConfig"), Some("core/v2"))
        );
        let spec = &resource["spec"];
        assert_eq!(spec["output_metric_format"], "nagios_perfdata", "{resource}");
        assert!(spec["command"].as_str().unwrap().starts_with(&format!("{} -P memcached", check.name())), "{resource}");
        assert!(spec["interval"].as_u64() > spec["timeout"].as_u64() && spec["publish"] == true, "{resource}");
        assert_eq!(spec["runtime_assets"][0], "connleak");
        assert!(spec["subscriptions"][0].is_string() && resource["metadata"]["namespace"].is_string());
    }
    let [asset] = &resources("sensu/connleak-asset.yml")[..] else { panic!("one asset") };
    assert_eq!((asset["type"].as_str(), asset["metadata"]["name"].as_str()), (Some("Asset"), Some("connleak")));
    let build = &asset["spec"]["builds"][0];
    assert!(build["url"].as_str().unwrap().starts_with("https://") && build["filters"].is_array(), "{asset}");
    assert_eq!(build["sha512"].as_str().unwrap().len(), 128);
}

#[test]
fn the_basket_has_a_field_for_every_variable() {
    let basket: Value = serde_json::from_str(&read("icinga2/connleak-director-basket.json")).unwrap();
    let fields = basket["Datafield"].as_object().unwrap();
    for (name, command) in basket["Command"].as_object().unwrap() {
        let ids = command["fields"].as_array().unwrap().iter();
        let varname =
            |field: &Value| fields[&field["datafield_id"].to_string()]["varname"].as_str().unwrap().to_owned();
        let mut named: Vec<_> = ids.map(varname).collect();
        let arguments = command["arguments"].as_object().unwrap().values();
        let variable = |argument: &Value| {
            let value = argument["value"].as_str().or(argument["set_if"].as_str()).unwrap();
            value.trim_matches('$').to_owned()
        };
        let mut used: Vec<_> = arguments.map(variable).collect();
        used.sort();
        named.sort();
        assert_eq!(named, used, "{name}");
        assert_eq!(command["object_name"], name.as_str());
        assert_eq!(basket["ServiceTemplate"][format!("connleak {name}")]["check_command"], name.as_str());
    }
}

#[test]
fn the_dashboard_has_its_panels_and_names_our_metrics_only() {
    let dashboard: Value = serde_json::from_str(&read("grafana/connleak-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let titles: Vec<_> = panels.iter().map(|panel| panel["title"].as_str().unwrap()).collect();
    for wanted in ["State", "Growth", "Owners", "Time until full"] {
        assert!(titles.contains(&wanted), "{titles:?}");
    }
    let ids: std::collections::BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()) {
        assert!(target["expr"].as_str().unwrap().contains("connleak_"), "{target}");
        assert_eq!(target["datasource"]["uid"], "${datasource}");
    }
}

/// Nothing lies in contrib/ that no test reads.
#[test]
fn every_file_is_tested() {
    let tests = ["tests/contrib/main.rs", "tests/contrib/written.rs", "tests/live", "tests/packages.rs"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fn read(path: &Path, texts: &mut String) {
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| read(&entry.unwrap().path(), texts));
        } else {
            texts.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    let mut texts = String::new();
    tests.iter().for_each(|path| read(&root.join(path), &mut texts));
    for folder in fs::read_dir(contrib()).unwrap().map(|entry| entry.unwrap().path()) {
        for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            let name = format!("{}/{file}", folder.file_name().unwrap().to_str().unwrap());
            let pattern = name
                .replace("commands", "{name}")
                .replace("services", "{name}")
                .replace("nrpe/connleak", "nrpe/{name}");
            assert!(
                [&name, &pattern, &file].iter().any(|name| texts.contains(name.as_str())),
                "{name} is tested nowhere"
            );
        }
    }
}
