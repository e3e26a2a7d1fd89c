//! Where nobody listens a zero is no health: the line says so, `--require-listener` makes it a state.

use crate::companion::run::connleak;
use crate::host::sides::listener;
use crate::lab::run::{CLOSEWAIT, Check, GROWTH, IDLE, STATES, TENANTS};
use crate::lab::{ESTABLISHED, Lab};
use serde_json::Value;

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

/// As haproxy pauses a proxy: the port is taken, though no table of listeners or connections has it.
#[test]
fn a_port_that_is_only_bound_has_a_holder() {
    Lab::test(|lab| {
        let mut server = listener(lab);
        server.say("listen l 127.0.0.1:27902");
        server.say("end l");
        let holder = format!("python3[{}]", server.pid());
        let pid = server.pid().to_string();
        for chosen in [&["-p27902"][..], &["--pid", &pid], &[]] {
            let told = connleak(&[&["who"], chosen].concat());
            assert!(told.contains("1 bound without listening") && told.contains("BOUND"), "{told}");
            let row = told.lines().find(|line| line.starts_with(&holder)).unwrap_or_else(|| panic!("{told}"));
            assert!(row.contains("server"), "{told}");
        }
        let json: Value = serde_json::from_str(&connleak(&["who", "-p27902", "-ojson", "-vv"])).unwrap();
        let owner = &json["owners"][0];
        assert_eq!((&owner["pid"], &owner["port"]), (&server.pid().into(), &27902.into()), "{json}");
        assert_eq!((&owner["states"]["CLOSE"], &json["sockets_total"]), (&1.into(), &1.into()), "{json}");
        assert_eq!(owner["peers"], Value::Array(vec![]), "{json}");
        let as_client = connleak(&["who", "-p27902", "--side=client"]);
        assert!(as_client.contains("nobody has any socket of it here"), "{as_client}");
        let by_proc = connleak(&["who", "-p27902", "--source=proc"]);
        assert!(by_proc.contains("/proc doesn't show what is only bound"), "{by_proc}");
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().to_str().unwrap();
        for check in CHECKS {
            let growth: &[&str] = if check.0 == GROWTH.0 { &["--limit=100", "--state-dir", dir] } else { &[] };
            let outcome = check.run(&[&["-p27902"], growth].concat());
            let said = format!("nothing listens on port 27902 here (bound without listening by {holder}), and nobody");
            assert!(outcome.code == 0 && outcome.text().contains(&said), "{outcome:?}");
            let required = check.run(&[&["-p27902", "--require-listener:critical"], growth].concat());
            assert!(required.code == 2 && required.text().contains(&said), "{required:?}");
            let of_nobody = check.run(&[&["-p27902", "--user=nobody"], growth].concat());
            assert!(!of_nobody.text().contains("bound without"), "{of_nobody:?}");
        }
        server.say("close l");
        let gone = connleak(&["who", "-p27902"]);
        assert!(gone.contains("nobody has any socket of it here") && !gone.contains("bound"), "{gone}");
    });
}
