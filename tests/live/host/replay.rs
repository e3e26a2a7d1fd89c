//! A dump that `ss` recorded is judged like the live sockets, and never OK where a part is missing.

use crate::lab::run::{CONNLEAK, Outcome, check, run};
use crate::lab::{CLOSE_WAIT, Lab};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const NLMSG_DONE: u16 = 3;

/// Limits that nothing here breaches: what is not OK is so for another reason.
const QUIET: [&str; 7] = [
    "-p11211",
    "-w1000",
    "-c1000",
    "--min-age=5s",
    "--ratio-min-count=1000",
    "--ratio-warning=100",
    "--ratio-critical=100",
];

fn judge(file: &Path) -> Outcome {
    check(&[&QUIET[..], &["--replay", file.to_str().unwrap()]].concat())
}

/// Records as docs/look.md tells the user to. `false`: there is no `ss`.
fn record(lab: &Lab, file: &Path) -> bool {
    record_with(lab, "-tanie", file)
}

fn record_with(lab: &Lab, options: &str, file: &Path) -> bool {
    let recorded = Command::new("ss").args([options, "-D"]).arg(file).status();
    match &recorded {
        Ok(status) => assert!(status.success(), "ss: {status}"),
        Err(why) => lab.skip(&format!("ss: {why}")),
    }
    recorded.is_ok()
}

/// Old and young leaks of both families, at both sides, and healthy connections.
fn leaks(lab: &Lab) -> Vec<crate::lab::Peer> {
    let mut peers = vec![lab.leaking_server("127.0.0.1:11211", 3), lab.leaking_server("[::1]:11311", 2)];
    // On a loaded machine the young ones are some seconds old too.
    std::thread::sleep(Duration::from_millis(5300));
    let (server, client) = lab.connected("[::1]:11211", 4);
    let (mut closing, holder) = lab.connected("[::ffff:127.0.0.2]:11211", 2);
    closing.say("close s");
    lab.wait_for(CLOSE_WAIT, 11211, 5);
    peers.extend([server, client, closing, holder]);
    peers
}

#[test]
fn a_recorded_dump_tells_what_the_live_sockets_tell() {
    Lab::test(|lab| {
        let _peers = leaks(lab);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dump");
        let before = Instant::now();
        if !record(lab, &file) {
            return;
        }
        let live = check(&QUIET);
        let replayed = judge(&file);
        assert_eq!((live.code, replayed.code), (0, 0), "{live:?} {replayed:?}");
        assert!(replayed.text().contains("; replayed from "), "{replayed:?}");
        for (label, wanted) in [("close_wait", 3.0), ("close_wait_young", 2.0), ("established", 8.0)] {
            assert_eq!([live.value(label), replayed.value(label)], [wanted; 2], "{label}");
        }
        let later = live.ended.duration_since(before).as_secs_f64() + 0.1;
        let difference = live.value("close_wait_oldest") - replayed.value("close_wait_oldest");
        assert!((-0.1..=later).contains(&difference), "{difference} of {later}");
        // The processes of another time are not this one's.
        let json = check(&["-p11211", "--min-age=0s", "-ojson", "--replay", file.to_str().unwrap()]).json();
        assert_eq!((&json["complete"]["owners"], &json["complete"]["source"]), (&false.into(), &"replay".into()));
        assert_eq!(json["owners"].as_array().unwrap().len(), 0, "{json}");
    });
}

#[test]
fn a_dump_without_tcp_info_says_how_to_record_it() {
    Lab::test(|lab| {
        let _server = lab.leaking_server("127.0.0.1:11211", 3);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dump");
        if !record_with(lab, "-tane", &file) {
            return;
        }
        let shown = run(Command::new(CONNLEAK).args(["who", "-p11211", "--replay"]).arg(&file));
        let told = "ages unknown: the dump was recorded without tcp_info; 'ss -tanie -D FILE' records it";
        assert!(shown.stdout.contains(told) || shown.stderr.contains(told), "{shown:?}");
    });
}

#[test]
fn a_dump_cut_short_anywhere_is_never_ok() {
    Lab::test(|lab| {
        let _peers = leaks(lab);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dump");
        if !record(lab, &file) {
            return;
        }
        let whole = fs::read(&file).unwrap();
        assert_eq!(judge(&file).code, 0);
        let (boundaries, ends) = messages(&whole);
        assert_eq!((ends.len(), *ends.last().unwrap()), (2, whole.len()), "a DONE for each family");
        let inside = boundaries.iter().flat_map(|at| [at + 3, at + 16, at + 40]);
        let cuts = boundaries.iter().copied().chain(inside).chain([whole.len() - 1]).filter(|at| *at < whole.len());
        for cut in cuts {
            fs::write(&file, &whole[..cut]).unwrap();
            let outcome = judge(&file);
            assert_eq!(outcome.code, 3, "cut at {cut} of {}: {outcome:?}", whole.len());
        }
        // What is seen of a leak stays one, and the line still says that more is missing.
        fs::write(&file, &whole[..ends[0]]).unwrap();
        let half = check(&[
            "-p11211",
            "--min-age=5s",
            "-w0",
            "-c1000",
            "--ratio-min-count=1000",
            "--replay",
            file.to_str().unwrap(),
        ]);
        assert_eq!((half.code, half.text().contains("sockets incomplete")), (1, true), "{half:?}");
    });
}

/// Where messages begin (0 too), and where each DONE ends.
fn messages(dump: &[u8]) -> (Vec<usize>, Vec<usize>) {
    let (mut at, mut boundaries, mut ends) = (0, Vec::new(), Vec::new());
    while at < dump.len() {
        boundaries.push(at);
        let length = u32::from_ne_bytes(dump[at..at + 4].try_into().unwrap()) as usize;
        let kind = u16::from_ne_bytes(dump[at + 4..at + 6].try_into().unwrap());
        at += length.next_multiple_of(4);
        if kind == NLMSG_DONE {
            ends.push(at);
        }
    }
    (boundaries, ends)
}
