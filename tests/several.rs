//! Several services in one call: one file for Prometheus, and the worst state as its exit.

#[path = "support/run.rs"]
mod run;

use run::{CLOSEWAIT, ORPHANS, Outcome};
use std::fs;

/// A recorded dump: redis is CRITICAL, memcached WARNING, mysql OK.
const LEAK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/leak/dump.nl");

/// The line on standard output, and the file.
fn look(profiles: &[&str], more: &[&str]) -> (Outcome, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("connleak.prom");
    let mut args = vec!["-oprometheus", "--output-file", file.to_str().unwrap(), "--replay", LEAK];
    args.extend(profiles.iter().flat_map(|profile| ["-P", profile]));
    args.extend(more);
    let outcome = CLOSEWAIT.run(&args);
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.len() < 2, "no temporary file is left: {names:?}");
    (outcome, fs::read_to_string(file).unwrap_or_default())
}

/// Service and value of each sample of a name, in the file's order.
fn samples<'a>(file: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
    let sample = |line: &'a str| {
        let (labels, value) = line.rsplit_once("} ").unwrap();
        let service = labels.split("service=\"").nth(1).unwrap().split('"').next().unwrap();
        (service, value)
    };
    file.lines().filter(of_name).map(sample).collect()
}

#[test]
fn one_file_of_several_services() {
    let (outcome, file) = look(&["mysql", "redis", "memcached"], &["-c20"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.text().starts_with("1 CRITICAL, 1 WARNING, 1 OK: redis:6379: 23 client sockets"), "{outcome:?}");
    assert_eq!(samples(&file, "connleak_state"), [("mysql", "0"), ("redis", "2"), ("memcached", "1")]);
    assert_eq!(samples(&file, "connleak_close_wait"), [("mysql", "0"), ("redis", "23"), ("memcached", "7")]);
    let mut described: Vec<_> = file.lines().filter(|line| line.starts_with('#')).collect();
    described.sort_unstable();
    let count = described.len();
    described.dedup();
    assert_eq!((described.len(), count), (16, 16), "HELP and TYPE of each name once: {file}");
    // All samples of a name stand together, below its TYPE.
    let names: Vec<_> = file.lines().map(|line| line.trim_start_matches("# TYPE ").split([' ', '{']).next()).collect();
    let mut blocks = names.clone();
    blocks.retain(|name| *name != Some("#"));
    blocks.dedup();
    assert_eq!(blocks.len(), 8, "{file}");
    let told = &outcome.output().long_text;
    assert!(told[0].starts_with("CRITICAL: redis") && told[1].starts_with("WARNING: memcached"), "{told:?}");
}

#[test]
fn what_fails_does_not_cost_the_others() {
    let (outcome, file) = look(&["mysql", "./none.yaml", "memcached"], &[]);
    assert_eq!(samples(&file, "connleak_state"), [("mysql", "0"), ("./none.yaml", "3"), ("memcached", "1")]);
    assert_eq!(samples(&file, "connleak_established").len(), 2, "{file}");
    assert_eq!(outcome.code, 1, "WARNING is worse than UNKNOWN: {outcome:?}");
    let (outcome, _) = look(&["mysql", "./none.yaml"], &[]);
    assert!(outcome.code == 3 && outcome.text().contains("./none.yaml"), "{outcome:?}");
    let (outcome, file) = look(&["mysql", "redis"], &["--replay", "/nowhere"]);
    assert_eq!(samples(&file, "connleak_state"), [("mysql", "3"), ("redis", "3")]);
    assert!(file.contains("{check=\"closewait\",service=\"redis\",port=\"6379\",side=\"both\"} 3"), "{file}");
    assert!(outcome.code == 3 && outcome.text().starts_with("2 UNKNOWN: "), "{outcome:?}");
}

/// One whose file never answers: what was told before stands, the rest is UNKNOWN by name.
#[test]
fn a_profile_that_hangs_does_not_cost_those_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo.yaml");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let fifo = fifo.to_str().unwrap();
    // Until then even a loaded machine has told the first.
    let (outcome, file) = look(&["redis", fifo, "mysql"], &["-t8", "-c20"]);
    assert_eq!(samples(&file, "connleak_state"), [("redis", "2"), (fifo, "3"), ("mysql", "3")]);
    assert!(outcome.code == 2 && outcome.text().starts_with("1 CRITICAL, 2 UNKNOWN: redis"), "{outcome:?}");
}

#[test]
fn one_service_under_two_names_is_one_series() {
    let copy = concat!(env!("CARGO_MANIFEST_DIR"), "/thresholds/mysql.yaml");
    let (outcome, file) = look(&["mysql", copy], &[]);
    assert_eq!(samples(&file, "connleak_state"), [("mysql", "0"), (copy, "3")]);
    assert!(outcome.code == 3 && outcome.text().contains("the same service as one before it"), "{outcome:?}");
}

#[test]
fn a_file_that_cant_be_written_is_unknown_in_the_line() {
    let profiles = ["-Pmysql", "-Pkafka", "--replay", LEAK, "-oprometheus", "--output-file", "/proc/x.prom"];
    let outcome = CLOSEWAIT.run(&profiles);
    assert!(outcome.code == 3 && outcome.text().contains("can't write /proc/x.prom: "), "{outcome:?}");
}

#[test]
fn elsewhere_one_call_is_one_service() {
    let refused = |outcome: Outcome, part: &str| {
        assert!(outcome.code == 3 && outcome.text().contains(part), "{part}: {outcome:?}");
    };
    let two = ["-Pmysql", "-Pkafka", "--replay", LEAK];
    refused(CLOSEWAIT.run(&two), "several --profile need -o prometheus");
    refused(CLOSEWAIT.run(&[&two[..], &["-ojson"]].concat()), "run the check once for each");
    refused(CLOSEWAIT.run(&[&two[..], &["-oprometheus", "-p1"]].concat()), "leave out -p");
    refused(CLOSEWAIT.run(&[&two[..], &["-oprometheus", "-Pmysql"]].concat()), "--profile mysql is given twice");
    let stop = ["-Pmysql", "-Pkafka", "-oprometheus", "--output-file=/dev/null/x", "--", "/bin/true"];
    refused(ORPHANS.run(&stop), "a stop command and several --profile can't be used together");
}
