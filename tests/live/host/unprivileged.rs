//! What a monitoring user without rights sees: every socket, few owners, and it says so.

use crate::lab::Lab;
use crate::lab::run::{check, check_unprivileged};

/// Point 4 of the first issue.
#[test]
fn counts_are_complete_and_owners_partial() {
    Lab::test(|lab| {
        let server = lab.leaking_server("[::1]:11211", 7);
        let look = ["-p11211", "--side=server", "--min-age=0s", "-w0", "-c100"];
        let (root, nobody) = (check(&look), check_unprivileged(&look));
        assert_eq!((root.code, nobody.code), (1, 1), "{root:?} {nobody:?}");
        for label in ["close_wait", "close_wait_young", "established", "close_wait_ratio"] {
            assert_eq!(root.value(label), nobody.value(label), "{label}");
        }
        assert_eq!(nobody.value("close_wait"), 7.0);
        let text = nobody.text();
        assert!(text.contains("owners partial: none known"), "{text}");
        assert!(text.contains("processes may not be read"), "{text}");
        assert!(!root.text().contains("partial"), "{root:?}");
        let json = check_unprivileged(&[&look[..], &["-ojson"]].concat()).json();
        let complete = &json["complete"];
        assert_eq!(
            (&complete["sockets"], &complete["owners"], &complete["unowned"]),
            (&true.into(), &false.into(), &7.into())
        );
        server.end();
        assert_eq!(check_unprivileged(&look).code, 0);
    });
}

#[test]
fn ones_own_processes_are_named_without_any_rights() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer_of_nobody(), lab.peer());
        server.say("listen l 127.0.0.1:11211");
        client.say("connect c 127.0.0.1:11211 3");
        server.say("accept s l 3");
        client.say("close c");
        lab.wait_for(crate::lab::CLOSE_WAIT, 11211, 3);
        let look = ["-p11211", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];
        let outcome = check_unprivileged(&look);
        assert_eq!((outcome.code, outcome.value("close_wait")), (1, 3.0), "{outcome:?}");
        assert!(outcome.text().contains(&format!("all held by peer[{}]", server.pid())), "{outcome:?}");
        assert!(!outcome.text().contains("partial"), "{outcome:?}");
    });
}
