//! `--junit`: results that a real XML parser reads.

use crate::lab::run::{ORPHANS, Outcome, run};
use crate::lab::{CLOSE_WAIT, Lab};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Reads a result with Python's parser, as `{tests, failures, errors, name, class, tag, message, text}`.
const READER: &str = "
import json, sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
[suite] = root
[case] = suite
found = {key: int(suite.get(key)) for key in ('tests', 'failures', 'errors', 'skipped')}
assert float(suite.get('time')) >= 0 and root.tag == 'testsuites' and case.tag == 'testcase'
found |= {'name': case.get('name'), 'class': case.get('classname')}
[result] = case
found |= {'tag': result.tag, 'message': result.get('message'), 'text': (result.text or '').strip()}
print(json.dumps(found))
";

struct Result {
    outcome: Outcome,
    xml: Value,
}

/// Runs the check with `--junit` in the middle of its options and reads what it wrote.
fn result(before: &[&str], after: &[&str]) -> Result {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.xml");
    let path = path.to_str().unwrap();
    let outcome = ORPHANS.run(&[before, &["--junit", path], after].concat());
    assert!(Path::new(path).exists(), "no result was written: {outcome:?}");
    let read = run(Command::new("python3").args(["-c", READER, path]));
    assert_eq!((read.code, read.stderr.as_str()), (0, ""), "{}", std::fs::read_to_string(path).unwrap());
    let xml: Value = serde_json::from_str(&read.stdout).unwrap();
    assert_eq!((&xml["tests"], &xml["skipped"]), (&1.into(), &0.into()));
    assert_eq!(xml["class"], "connleak.orphans_after_stop");
    Result { outcome, xml }
}

impl Result {
    fn assert(&self, code: i32, failures: u32, errors: u32, tag: &str) {
        let Result { outcome, xml } = self;
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert_eq!((&xml["failures"], &xml["errors"], &xml["tag"]), (&failures.into(), &errors.into(), &tag.into()));
        let told = if code == 0 { &xml["text"] } else { &xml["message"] };
        // The text as it was before it was made safe for a plugin's line.
        let plain = |text: &str| text.replace([':', '='], "");
        assert_eq!(plain(told.as_str().unwrap()), plain(&outcome.text()), "{xml}");
    }
}

#[test]
fn each_state_is_a_result_that_a_parser_reads() {
    Lab::test(|lab| {
        let ok = result(&["-p11211"], &[]);
        ok.assert(0, 0, 0, "system-out");
        assert_eq!(ok.xml["name"], "memcached:11211");

        let (server, mut client) = lab.connected("127.0.0.1:11211", 2);
        // <&">]]>, an escape and a tag: a process may call itself anything.
        client.say("rename 3c26223e5d5d3e1b5b306d3c2f61");
        server.end();
        lab.wait_for(CLOSE_WAIT, 11211, 2);
        let critical = result(&["-p11211", "--wait=0s", "-v"], &["--side=client"]);
        critical.outcome.output();
        assert_eq!(critical.outcome.code, 2);
        let (message, text) = (critical.xml["message"].as_str().unwrap(), critical.xml["text"].as_str().unwrap());
        assert!(message.contains("all held by <&\">]]>?[0m</a["), "{message}");
        assert!(text.starts_with("owner <&\">]]>?[0m</a["), "{text}");
        assert_eq!((&critical.xml["failures"], &critical.xml["tag"]), (&1.into(), &"failure".into()));

        result(&["-p11211", "--wait=0s"], &["--side=client", "-w0", "-c9"]).assert(1, 1, 0, "failure");
        result(&["-p11211"], &["--", "sh", "-c", "exit 5"]).assert(3, 0, 1, "error");
        result(&["-p11211", "-t2s"], &["--wait=0s", "--", "sleep", "99"]).assert(3, 0, 1, "error");
    });
}

/// A CI job whose command line is wrong must not end without any result.
#[test]
fn bad_arguments_are_an_error_in_it() {
    for (before, after) in [
        (&["-p11211"][..], &["--prot=1"][..]),
        (&["-p0"], &[]),
        (&["-p11211", "--ignore=NONSENSE"], &[]),
        (&["-p11211"], &["--wait"]),
        (&[], &[]),
        (&["-p11211"], &["--"]),
        (&["-p11211"], &["--extra-opts=@/no/such/file"]),
        (&["-p11211"], &["--baseline=/no/such/file"]),
    ] {
        result(before, after).assert(3, 0, 1, "error");
    }
}

#[test]
fn a_result_that_cant_be_written_is_unknown() {
    for line in [&["-p4"][..], &["-p0"]] {
        let outcome = ORPHANS.run(&[line, &["--junit=/no/such/place/x.xml"]].concat());
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert!(outcome.text().contains("can't write /no/such/place/x.xml"), "{outcome:?}");
    }
}
