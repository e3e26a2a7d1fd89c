//! Bodies that real HTTP clients never read: the window closes, no FIN is ever seen, and the server waits with the rest.

use crate::companion::run::connleak;
use crate::integrations::python::{prepare_python, python};
use crate::lab::run::{IDLE, Outcome, PATIENCE, Started, poll};
use crate::lab::{ESTABLISHED, Lab};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// Far more than both ends' buffers take.
const BODY: usize = 32 << 20;
/// One more than the profile allows.
const FORGOTTEN: usize = 6;

/// They read how many requests to make whose bodies nobody reads, or `read` to read them all.
const REQUESTS: &str = "
import requests, sys
session, kept = requests.Session(), []
print('ready', flush=True)
for line in sys.stdin:
    if line == 'read\\n':
        for each in kept:
            each.content
    else:
        kept += [session.get('http://127.0.0.1:8080/body', stream=True) for _ in range(int(line))]
    print('done', flush=True)
";
const UNDICI: &str = "
const lines = require('readline').createInterface({input: process.stdin});
const kept = [];
console.log('ready');
lines.on('line', async line => {
    if (line == 'read') await Promise.all(kept.map(each => each.arrayBuffer()));
    else for (let i = 0; i < Number(line); i++) kept.push(await fetch('http://127.0.0.1:8080/body'));
    console.log('done');
});
";

fn look(more: &[&str]) -> Outcome {
    IDLE.run(&[&["-p8080", "--min-age=1h", "--unread-age=1s", "--unsent-age=1s"], more].concat())
}

/// Looks until so many have data that waits.
fn wait_for(label: &str, count: f64, more: &[&str]) -> Outcome {
    let mut outcome = look(more);
    let reached = poll(PATIENCE, || {
        outcome = look(more);
        outcome.value(label) == count
    });
    assert!(reached, "wanted {count} {label}: {outcome:?}");
    outcome
}

fn story(lab: &Lab, mut client: Command) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("body"), vec![b'x'; BODY]).unwrap();
    let mut server = Command::new("python3");
    server.args(["-m", "http.server", "8080", "--bind", "127.0.0.1"]).current_dir(dir.path());
    let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Started(server.spawn().unwrap());
    assert!(poll(PATIENCE, || TcpStream::connect("127.0.0.1:8080").is_ok()), "http.server listens");
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut client = Started(child);
    let pid = client.0.id();
    assert_eq!(answers.next().unwrap().unwrap(), "ready");
    let mut say = |word: &str| {
        writeln!(client.0.stdin.as_mut().unwrap(), "{word}").unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), "done");
    };
    assert_eq!(look(&["--side=both"]).code, 0);
    say(&FORGOTTEN.to_string());
    let unread = wait_for("unread", FORGOTTEN as f64, &["--side=client"]);
    assert_eq!((unread.code, unread.value("idle"), unread.value("unsent")), (1, 0.0, 0.0), "{unread:?}");
    let text = unread.text();
    assert!(text.matches("oldest").count() < 2 && text.contains(" at most"), "{text}");
    assert!(text.contains("6 with data unread for 1s or more, ") && text.contains("(warning 5)"), "{text}");
    assert!(text.contains("all held by ") && text.contains(&format!("[{pid}]")), "{text}");
    let unsent = wait_for("unsent", FORGOTTEN as f64, &["--side=server", "--unsent-critical=5"]);
    assert_eq!((unsent.code, unsent.value("unread")), (2, 0.0), "{unsent:?}");
    let text = unsent.text();
    assert!(text.contains("6 with data not taken for 1s or more, "), "{text}");
    assert!(text.contains("6 by 127.0.0.1 (") && text.contains(&format!("[{pid}])")), "{text}");
    let profile = dir.path().join("mine.yaml");
    fs::write(&profile, "service: mine\nports: [8080]\nidle: {unread: {min_age: 1s}}\n").unwrap();
    let who = connleak(&["who", "-P", profile.to_str().unwrap(), "--side=client"]);
    assert!(who.contains("UNREAD"), "{who}");
    // /proc tells what waits, not since when.
    let proc = look(&["--side=client", "--source=proc", "-w99", "-c99"]);
    assert!(proc.code == 3 && proc.text().contains("6 more with data maybe long unread"), "{proc:?}");
    say("read");
    lab.wait_for(ESTABLISHED, 8080, 0);
    let after = look(&["--side=both"]);
    assert_eq!((after.code, after.value("unread"), after.value("unsent")), (0, 0.0, 0.0), "{after:?}");
    say(&FORGOTTEN.to_string());
    assert_eq!(wait_for("unread", FORGOTTEN as f64, &["--side=client"]).code, 1);
}

#[test]
fn bodies_that_requests_streams_and_nobody_reads() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let mut client = Command::new(python);
        client.args(["-c", REQUESTS]);
        story(lab, client);
    });
}

#[test]
fn bodies_that_undici_fetched_and_nobody_reads() {
    Lab::test(|lab| {
        let Ok(_) = Command::new("node").arg("--version").stdout(Stdio::null()).status() else {
            return lab.skip("node is not installed");
        };
        let mut client = Command::new(Path::new("node"));
        client.args(["-e", UNDICI]);
        story(lab, client);
    });
}
