//! A real Prometheus that scrapes a real node_exporter and tells a real Alertmanager, with the rules and the dashboard
//! of contrib/.

use crate::integrations::daemon::{Daemon, SHOWN, Story, ask_json, contrib, missing, tool};
use crate::lab::Lab;
use crate::lab::run::{CLOSEWAIT, Check, GROWTH, IDLE, Outcome, STATES};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

const API: &str = "http://127.0.0.1:9090/api/v1";

fn get(path: &str, arguments: &[&str]) -> Option<Value> {
    let answer = ask_json(&[&["--get"], arguments].concat(), &format!("{API}/{path}"))?;
    Some(answer["data"].clone())
}

fn query(expression: &str) -> Vec<Value> {
    let parameter = format!("query={expression}");
    let found = get("query", &["--data-urlencode", &parameter]);
    found.map_or_else(Vec::new, |found| found["result"].as_array().unwrap().clone())
}

/// What the timer of contrib/prometheus does each minute, with both services in one call.
fn write(check: Check, file: &Path, more: &[&str]) -> Outcome {
    let several = ["-Pmemcached", "-Pmysql", "-oprometheus", "--output-file", file.to_str().unwrap()];
    check.run(&[&several, more].concat())
}

struct Site<'a> {
    dir: &'a Path,
    state: String,
}

impl Site<'_> {
    fn write(&self) -> [i32; 4] {
        let file = |name: &str| self.dir.join("textfiles").join(name);
        let growth = ["--side=client", "--limit=30", "-c50", "--state-dir", &self.state];
        let states = ["--side=client", "--state=CLOSE_WAIT:5:20"];
        let runs: [(Check, &str, &[&str]); 4] = [
            (CLOSEWAIT, "closewait", &["--min-age=0s"]),
            (GROWTH, "conn_growth", &growth),
            (IDLE, "conn_idle", &["--side=client", "--min-age=0s", "-c3"]),
            (STATES, "conn_states", &states),
        ];
        runs.map(|(check, name, more)| write(check, &file(&format!("connleak_{name}.prom")), more).code)
    }

    /// node_exporter, Alertmanager, Prometheus.
    fn start(&self) -> [Daemon; 3] {
        let dir = self.dir.display();
        fs::write(self.dir.join("connleak.rules.yml"), contrib("prometheus/connleak.rules.yml")).unwrap();
        let config = "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [connleak.rules.yml]\n\
            alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:9093']}]}]}\n\
            scrape_configs:\n  - {job_name: node, static_configs: [{targets: ['127.0.0.1:9100']}]}\n";
        fs::write(self.dir.join("prometheus.yml"), config).unwrap();
        fs::write(self.dir.join("alertmanager.yml"), "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
            .unwrap();
        let mut alertmanager = Command::new("prometheus-alertmanager");
        alertmanager.args(["--web.listen-address=127.0.0.1:9093", "--cluster.listen-address="]);
        alertmanager.arg(format!("--config.file={dir}/alertmanager.yml")).arg(format!("--storage.path={dir}/alerts"));
        let textfiles = format!("--collector.textfile.directory={dir}/textfiles");
        let mut exporter = Command::new("prometheus-node-exporter");
        exporter.args(["--collector.disable-defaults", "--collector.textfile", "--web.listen-address=127.0.0.1:9100"]);
        let mut prometheus = Command::new("prometheus");
        prometheus.args(["--web.listen-address=127.0.0.1:9090", &format!("--config.file={dir}/prometheus.yml")]);
        let exporter = Daemon::start(exporter.arg(textfiles), self.dir.join("exporter.log"));
        let prometheus = prometheus.arg(format!("--storage.tsdb.path={dir}/data"));
        let alertmanager = Daemon::start(&mut alertmanager, self.dir.join("alertmanager.log"));
        [exporter, alertmanager, Daemon::start(prometheus, self.dir.join("prometheus.log"))]
    }
}

/// Names of alerts that fire, with their services.
fn firing() -> Option<Vec<(String, String)>> {
    let found = get("alerts", &[])?;
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let fires = found["alerts"].as_array()?.iter().filter(|alert| alert["state"] == "firing");
    let mut names: Vec<_> =
        fires.map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["labels"]["check"]))).collect();
    names.sort();
    Some(names)
}

/// What whoever is paged reads of each alert of memcached's that Alertmanager has.
fn paged() -> Option<Vec<String>> {
    let alerts = ask_json(&[], "http://127.0.0.1:9093/api/v2/alerts?active=true&filter=service=\"memcached\"")?;
    let summary = |alert: &Value| alert["annotations"]["summary"].as_str().unwrap_or_default().to_owned();
    Some(alerts.as_array()?.iter().map(summary).collect())
}

/// Every query of the dashboard, for all instances and services.
fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&contrib("grafana/connleak-dashboard.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let expression = |target: &Value| target["expr"].as_str().unwrap().replace("$instance", ".*");
    targets.map(|target| expression(target).replace("$service", ".*")).collect()
}

#[test]
fn an_alert_fires_and_is_resolved() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["prometheus", "prometheus-node-exporter", "prometheus-alertmanager", "curl"]) {
            return lab.skip(&why);
        }
        let (place, mut story) = (tempfile::tempdir().unwrap(), Story::begin(lab));
        let site = Site { dir: place.path(), state: place.path().join("state").display().to_string() };
        fs::create_dir(place.path().join("textfiles")).unwrap();
        assert_eq!(site.write(), [0; 4]);
        let [_exporter, mut alertmanager, mut prometheus] = site.start();
        prometheus
            .until("state of both services by all checks", || (query("connleak_state == 0").len() == 8).then_some(()));
        assert_eq!(query("node_textfile_scrape_error")[0]["value"][1], "0");
        assert_eq!(firing(), Some(Vec::new()));

        story.leak(lab);
        let silent = lab.connected("127.0.0.1:3306", 4);
        assert_eq!(site.write(), [2; 4]);
        let alert = |check: &str| ("ConnleakCritical".to_owned(), check.to_owned());
        let wanted = ["closewait", "conn_growth", "conn_idle", "conn_states"].map(alert).to_vec();
        prometheus.until("alert", || firing().filter(|names| *names == wanted));
        let names_owner = |told: &String| told.contains(": check_closewait is in state 2, 25 held by ");
        alertmanager.until("page that names the owner", || paged()?.into_iter().find(names_owner));
        prometheus.until("recorded rule", || query("connleak:owner_sockets:max{service=\"memcached\"} == 25").pop());
        assert_eq!(query("connleak_close_wait{service=\"memcached\"}")[0]["value"][1], "25");
        // A gone leak leaves no forecast, but the panel says so.
        for expression in dashboard_queries() {
            prometheus.until(&expression, || query(&expression).pop());
        }
        assert_no_false_metric(lab);

        story.release();
        drop(silent);
        assert_eq!(site.write(), [0; 4]);
        prometheus.until("resolved alerts", || firing().filter(Vec::is_empty));
        alertmanager.until("end of the pages", || paged().filter(Vec::is_empty));
    });
}

/// Whoever calls himself a metric is a label's value, and no more.
fn assert_no_false_metric(_lab: &Lab) {
    let names = get("label/__name__/values", &[]).unwrap();
    let ours = |name: &&Value| {
        !["node_", "go_", "process_", "promhttp_", "scrape_"]
            .iter()
            .any(|other| name.as_str().unwrap().starts_with(other))
    };
    let names: Vec<_> = names.as_array().unwrap().iter().filter(ours).map(|name| name.as_str().unwrap()).collect();
    let strange: Vec<_> = names
        .iter()
        .filter(|name| !name.starts_with("connleak") && !["up", "ALERTS", "ALERTS_FOR_STATE"].contains(name))
        .collect();
    assert!(strange.is_empty() && names.len() > 10, "{names:?}");
    let owners = query("connleak_owner_sockets{check=\"closewait\",service=\"memcached\"}");
    let owners: Vec<_> = owners.iter().map(|owner| (&owner["metric"]["owner"], &owner["value"][1])).collect();
    let shown = |owner: &&(&Value, &Value)| {
        let name = owner.0.as_str().unwrap();
        (name.contains("/ evil:2;;;0 'evil':3 \\\"%n.service") || name == format!("{SHOWN} (root)")) && owner.1 == "25"
    };
    assert_eq!((owners.len(), owners.iter().filter(shown).count()), (2, 1), "{owners:?}");
}

#[test]
fn the_rules_do_as_their_tests_say() {
    if let Some(why) = missing(&["promtool"]) {
        return crate::lab::skip_test("prometheus::the_rules_do_as_their_tests_say", &why);
    }
    let promtool = |words: &[&str]| {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/prometheus");
        tool(Command::new("promtool").args(words).current_dir(dir)).unwrap_or_else(|why| panic!("{why}"))
    };
    promtool(&["check", "rules", "connleak.rules.yml"]);
    promtool(&["test", "rules", "connleak.rules.test.yml"]);
}

/// What one call writes is what promtool calls good.
#[test]
fn the_file_is_good_by_promtool() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["promtool"]) {
            return lab.skip(&why);
        }
        let (place, mut story) = (tempfile::tempdir().unwrap(), Story::begin(lab));
        story.leak(lab);
        let file = place.path().join("x.prom");
        assert_eq!(write(CLOSEWAIT, &file, &["--min-age=0s"]).code, 2);
        let mut promtool = Command::new("promtool");
        let checked = promtool.args(["check", "metrics"]).stdin(fs::File::open(&file).unwrap()).output().unwrap();
        assert!(checked.status.success(), "{checked:?}\n{}", fs::read_to_string(&file).unwrap());
    });
}
