//! The files of all checks, read together by a real node_exporter: what is written is what is shown.

use crate::integrations::daemon::{Daemon, Story, ask, missing};
use crate::lab::Lab;
use crate::lab::run::{CLOSEWAIT, Check, GROWTH, IDLE, ORPHANS, STATES, TENANTS};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// Samples of ours, each once, whatever the order of their labels.
fn samples(text: &str) -> BTreeSet<String> {
    let sorted = |line: &str| {
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, value) = rest.rsplit_once("} ").unwrap();
        let mut labels: Vec<_> = labels.split("\",").map(|label| label.trim_end_matches('"')).collect();
        labels.sort_unstable();
        format!("{name} {labels:?} {}", value.parse::<f64>().unwrap())
    };
    text.lines().filter(|line| line.starts_with("connleak_")).map(sorted).collect()
}

#[test]
fn no_sample_is_lost_where_all_checks_write() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["prometheus-node-exporter", "curl"]) {
            return lab.skip(&why);
        }
        let (place, mut story) = (tempfile::tempdir().unwrap(), Story::begin(lab));
        story.leak(lab);
        let dir = place.path().join("textfiles");
        fs::create_dir(&dir).unwrap();
        let (state, pid) = (place.path().join("state").display().to_string(), std::process::id().to_string());
        let several = ["-Pmemcached", "-Pmysql"];
        let runs: [(&str, Check, &[&str]); 9] = [
            ("closewait", CLOSEWAIT, &several),
            ("ghosts", CLOSEWAIT, &["-p4711", "--ghosts"]),
            ("conn_growth", GROWTH, &["-Pmemcached", "-Pmysql", "--state-dir", &state]),
            ("fds", GROWTH, &["--pid", &pid, "--metric=fds", "--state-dir", &state]),
            ("rss", GROWTH, &["--pid", &pid, "--metric=rss", "--state-dir", &state]),
            ("conn_idle", IDLE, &several),
            ("conn_states", STATES, &several),
            ("conn_tenants", TENANTS, &["-Pmemcached", "-Pmysql", "--key=user"]),
            ("orphans_after_stop", ORPHANS, &["-Pmemcached", "--wait=0s"]),
        ];
        let mut written = BTreeSet::new();
        for (name, check, args) in runs {
            let file = dir.join(format!("connleak_{name}.prom"));
            check.run(&[args, &["-oprometheus", "--output-file", file.to_str().unwrap()]].concat());
            let text = fs::read_to_string(file).unwrap();
            assert!(text.lines().all(|line| !line.starts_with("# HELP") || line.split(' ').count() > 3), "{text}");
            written.extend(samples(&text));
        }
        let mut exporter = Command::new("prometheus-node-exporter");
        exporter.args(["--collector.disable-defaults", "--collector.textfile", "--web.listen-address=127.0.0.1:9100"]);
        exporter.arg(format!("--collector.textfile.directory={}", dir.display()));
        let mut exporter = Daemon::start(&mut exporter, place.path().join("exporter.log"));
        let shown = exporter.until("metrics", || ask(&[], "http://127.0.0.1:9100/metrics"));
        assert!(shown.lines().any(|line| line == "node_textfile_scrape_error 0"), "{shown}");
        let (shown, log) = (samples(&shown), exporter.log());
        let lost: Vec<_> = written.difference(&shown).collect();
        assert!(lost.is_empty() && written.len() > 100, "{} of {}: {lost:#?}\n{log}", lost.len(), written.len());
        assert!(!log.contains("inconsistent"), "{log}");
    });
}
