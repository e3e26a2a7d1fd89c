//! Processes that call themselves what a scheduler, a grapher or a terminal would obey.

use crate::lab::Lab;
use crate::lab::run::check;

fn hex(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// What a socket holder's name makes of every output. `comm` holds 15 bytes.
fn assert_harmless(name: &'static str, shown: &str) {
    Lab::test(|lab| {
        assert!(name.len() <= 15);
        let mut server = lab.leaking_server("127.0.0.1:11211", 2);
        server.say(&format!("rename {}", hex(name)));
        let look = ["-p11211", "--side=server", "--min-age=0s", "-w0", "-c100"];
        for verbosity in [&[][..], &["-v"], &["-vv"], &["-vvv"], &["-vv", "--by=owner"], &["-v", "--by=unit"]] {
            let outcome = check(&[&look, verbosity].concat());
            assert_eq!(outcome.code, 1, "{outcome:?}");
            let output = outcome.output();
            assert_eq!(output.metrics.len(), 5, "{outcome:?}");
            assert!(output.text.contains(&format!("held by {shown}[{}]", server.pid())), "{outcome:?}");
        }
        let outcome = check(&[&look[..], &["-ojson"]].concat());
        assert_eq!(outcome.json()["owners"][0]["command"], name, "{outcome:?}");
        assert!(!outcome.stdout.trim_end().contains(['|', '\n', '\u{1b}']), "{outcome:?}");
    });
}

#[test]
fn strips_pipe_perfdata_forgery() {
    assert_harmless("x|evil=1;;", "x/evil:1;;");
}

#[test]
fn strips_newline_and_ansi_escape_forgery() {
    assert_harmless("y\n\u{1b}[2KOK - \r", "y??[2KOK - ?");
}

#[test]
fn strips_direction_override_forgery() {
    assert_harmless("z\u{202e}ko\u{7f}", "z?ko?");
}
