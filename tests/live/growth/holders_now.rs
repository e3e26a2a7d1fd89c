//! Groups are named by those who hold their sockets now.

use crate::lab::run::GROWTH;
use crate::lab::{ESTABLISHED, Lab};

/// One user, one cgroup: two programs whose sockets are of one group.
#[test]
fn a_group_is_named_by_its_holder_of_now() {
    Lab::test(|lab| {
        let dir = tempfile::tempdir().unwrap();
        let state = format!("--state-dir={}", dir.path().display());
        let groups = || -> Vec<String> {
            let lines = GROWTH.run(&["-p27705", "-vv", &state]).output().long_text;
            lines.into_iter().filter(|line| line.starts_with("group ")).collect()
        };
        let (mut server, mut first, mut then) = (lab.peer(), lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:27705");
        first.say("rename 686170726f7879"); // haproxy
        then.say("rename 6e6f6465"); // node
        first.say("connect c 127.0.0.1:27705 3");
        server.say("accept s l 3");
        let known = groups();
        assert!(known.len() == 1 && known[0].contains("haproxy"), "{known:?}");
        then.say("connect c 127.0.0.1:27705 30");
        server.say("accept s l 30");
        lab.wait_for(ESTABLISHED, 27705, 66);
        let known = groups();
        assert!(known.len() == 1 && known[0].contains("node"), "{known:?}");
    });
}
