//! Where nobody listens a zero is no health: the line says so, `--require-listener` makes it a state.

use crate::lab::run::{CLOSEWAIT, Check, GROWTH, IDLE, STATES, TENANTS};
use crate::lab::{ESTABLISHED, Lab};

const CHECKS: [Check; 5] = [CLOSEWAIT, GROWTH, IDLE, STATES, TENANTS];

#[test]
fn nobody_listens_and_nobody_is_connected() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().to_str().unwrap();
        let look = |check: Check, more: &[&str]| {
            let growth: &[&str] = if check.0 == GROWTH.0 { &["--limit=100", "--state-dir", dir] } else { &[] };
            check.run(&[&["-p27901"], more, growth].concat())
        };
        let nothing = "nothing listens on port 27901 here, and nobody is connected";
        for check in CHECKS {
            for (options, code) in [(&[][..], 0), (&["--require-listener"], 3), (&["--require-listener:critical"], 2)] {
                let outcome = look(check, options);
                assert_eq!(outcome.code, code, "{outcome:?}");
                assert!(outcome.text().contains(nothing), "{outcome:?}");
            }
            let as_client = look(check, &["--side=client"]);
            assert!(
                as_client.code == 0 && as_client.text().contains("nobody here is connected to it"),
                "{as_client:?}"
            );
        }
        let mut server = lab.peer();
        server.say("listen l 127.0.0.1:27901");
        for check in CHECKS {
            for options in [&[][..], &["--require-listener"]] {
                let outcome = look(check, options);
                assert!(outcome.code == 0 && !outcome.text().contains("listens"), "{outcome:?}");
            }
            let elsewhere = look(check, &["--require-listener", "--local=127.0.0.2"]);
            assert!(
                elsewhere.code == 3 && elsewhere.text().contains("nothing of what was chosen listens"),
                "{elsewhere:?}"
            );
            let of_nobody = look(check, &["--user=nobody"]);
            let said = "nothing of what was chosen listens on port 27901 here, and nobody is connected";
            assert!(of_nobody.code == 0 && of_nobody.text().contains(said), "root's does: {of_nobody:?}");
        }
        let mut client = lab.peer();
        client.say("connect c 127.0.0.1:27901 1");
        server.say("accept s l 1");
        server.say("close l");
        lab.wait_for(ESTABLISHED, 27901, 2);
        let survivors = look(CLOSEWAIT, &["--require-listener"]);
        assert!(
            survivors.code == 3 && survivors.text().contains("nothing listens on port 27901 here"),
            "{survivors:?}"
        );
        assert!(!survivors.text().contains("nobody is connected"), "{survivors:?}");
        assert_eq!(look(CLOSEWAIT, &[]).code, 0);
        // These see the service's own ends at no further walk, and say it unasked; of a client's ends it says nothing.
        for check in [IDLE, STATES] {
            for (side, is_said) in [("both", true), ("server", true), ("client", false)] {
                let outcome = look(check, &["--side", side]);
                let text = outcome.text();
                assert_eq!((outcome.code, text.contains("nothing listens on port 27901 here")), (0, is_said), "{text}");
                assert!(!text.contains("nobody"), "{text}");
            }
        }
    });
}
