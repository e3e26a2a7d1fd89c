//! check_closewait of a port whose listener gets nothing, as a rule leads its clients to another one, here or in a container.

use crate::host::sides::look;
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab};
use std::process::Command;

const FIN_WAIT2: u8 = 5;

/// Whether connections from here to `port` now lead `to`: not every kernel can do that.
fn leads(lab: &Lab, port: u16, to: &str) -> bool {
    let rules = format!(
        "add table ip t; add chain ip t o {{ type nat hook output priority -100; }}; add rule ip t o tcp dport {port} {to}"
    );
    let did = Command::new("nft").arg(rules).status().is_ok_and(|status| status.success());
    if !did {
        lab.skip("nft nat");
    }
    did
}

#[test]
fn who_listens_on_a_redirected_port_hides_no_leak() {
    Lab::test(|lab| {
        if !leads(lab, 13306, "redirect to :3306") {
            return;
        }
        let mut idle = lab.peer();
        idle.say("listen l 127.0.0.1:13306");
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:3306");
        client.say("connect c 127.0.0.1:13306 20");
        client.say("connect more 127.0.0.1:13306 1");
        server.say("accept s l 21");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 3306, 20);
        let dir = tempfile::tempdir().unwrap();
        let state = format!("--state-dir={}", dir.path().display());
        let finds = || {
            for side in ["--side=both", "--side=server"] {
                let outcome = look("-p13306", &[side, &state]);
                assert_eq!((outcome.code, outcome.value("close_wait")), (1, 20.0), "{side}: {outcome:?}");
                let said = "sockets on port 3306 by a redirection on this host";
                assert!(outcome.text().contains(said), "{outcome:?}");
            }
        };
        finds();
        // What the clients closed is all that is left of them.
        client.say("close more");
        server.say("close l");
        lab.wait_for(FIN_WAIT2, 13306, 21);
        let outcome = look("-p13306", &["--side=server"]);
        assert_eq!(outcome.value("close_wait"), 21.0, "{outcome:?}");
    });
}

/// As podman and docker publish a port: who listens on it at the host gets nothing.
#[test]
fn a_port_that_leads_into_a_container_says_so() {
    Lab::test(|lab| {
        lab.join("10.88.0.1", "10.88.0.2");
        let mut server = lab.peer();
        server.say("listen l 10.88.0.2:80");
        lab.outside(|| {
            if !leads(lab, 8301, "dnat to 10.88.0.2:80") {
                return;
            }
            let (mut holder, mut client) = (lab.peer(), lab.peer());
            holder.say("listen l 0.0.0.0:8301");
            let said = |more: &[&str]| {
                let outcome = look("-p8301", &[more, &["--no-ghosts"]].concat());
                assert_eq!(outcome.code, 0, "{outcome:?}");
                outcome.text().contains(" here is elsewhere by a redirection")
            };
            assert!(!said(&[]));
            client.say("connect c 10.88.0.1:8301 20");
            server.say("accept s l 20");
            lab.wait_for(ESTABLISHED, 8301, 20);
            assert!(said(&[]) && said(&["--side=server"]) && !said(&["--side=client"]));
            assert!(said(&["--netns=all"]));
        });
    });
}
