//! Recorded dumps, whole, cut and foreign.

use crate::profiles::Files;
use crate::{REPLAY, all_refused, flaw, run, text};
use std::fs;
use std::io::Read;

#[test]
fn replays() {
    let files = Files::new();
    let whole = fs::read("tests/fixtures/leak/dump.nl").expect("the recording");
    let mut noise = Vec::new();
    fs::File::open("/dev/urandom").unwrap().take(1 << 20).read_to_end(&mut noise).unwrap();
    // A length that can't be one, so that the case never depends on luck.
    noise[..4].copy_from_slice(&7u32.to_ne_bytes());
    let text: &[u8] = b"State Recv-Q Send-Q Local Address:Port Peer Address:Port\n";
    let mut huge_length = whole.clone();
    huge_length[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
    let cases: Vec<(&str, &[u8], &[&str])> = vec![
        ("empty.nl", b"", &["cut short"]),
        ("header.nl", &whole[..10], &["cut short"]),
        ("text.nl", text, &["not a netlink dump", "ss -tanie -D"]),
        ("noise.nl", &noise, &["not a netlink dump", "ss -tanie -D"]),
        ("huge.nl", &huge_length, &["not a netlink dump", "ss -tanie -D"]),
    ];
    let mut table = Vec::new();
    for (name, content, says) in &cases {
        let path = files.put(name, content);
        table.push((vec!["-p11211".to_owned(), format!("--replay={path}")], [&[*name], *says].concat()));
    }
    let zeros = files.put("zeros.nl", vec![0; 10 << 20]);
    table.push((vec!["-p11211".to_owned(), format!("--replay={zeros}")], vec!["zeros.nl", "not a netlink dump"]));
    let missing = format!("--replay={}", files.path("missing.nl").display());
    table.push((vec!["-p11211".to_owned(), missing], vec!["missing.nl", "No such file"]));
    all_refused(&table.iter().map(|(args, says)| (args.clone(), says.as_slice())).collect::<Vec<_>>());
}

/// Never a false OK: wherever a recording is cut, the answer is not OK.
#[test]
fn a_replay_cut_anywhere_is_never_ok() {
    let files = Files::new();
    let whole = fs::read("tests/fixtures/calm/dump.nl").expect("the recording");
    assert_eq!(run(&["-p11211", REPLAY]).status.code(), Some(0), "the whole recording is OK");
    let mut ends: Vec<usize> = (0..whole.len()).step_by(whole.len() / 60).collect();
    ends.extend((1..=24).map(|back| whole.len() - back));
    for end in ends {
        let path = files.put("cut.nl", &whole[..end]);
        let output = run(&["-p11211", &format!("--replay={path}")]);
        assert_eq!(
            flaw(&output, &["cut.nl", "replayed dump"]),
            None,
            "cut at {end} of {}: {}",
            whole.len(),
            text(&output)
        );
    }
}

#[test]
fn a_problem_in_a_cut_replay_stays_a_problem() {
    let files = Files::new();
    let whole = fs::read("tests/fixtures/leak/dump.nl").expect("the recording");
    let path = files.put("cut.nl", &whole[..whole.len() - 20]);
    let output = run(&["-p11211", &format!("--replay={path}")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).starts_with("CLOSEWAIT WARNING - memcached:11211: "), "{}", text(&output));
    assert!(text(&output).contains("; sockets incomplete: the replayed dump "), "{}", text(&output));
}
