//! check_conn_growth: a pool in which nothing moves any more though its process works on, and one that is merely idle.

use crate::growth::rehearsed::{PACE, look};
use crate::lab::run::Outcome;
use crate::lab::{Lab, Peer};
use std::thread::sleep;
use tempfile::TempDir;

/// Six connections to the service, three to another, all of one process.
struct Application {
    state: TempDir,
    client: Peer,
    _server: Peer,
}

impl Application {
    fn start(lab: &Lab) -> Application {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        for (name, port, count) in [("pool", 4242, 6), ("other", 4343, 3)] {
            server.say(&format!("listen l{port} 127.0.0.1:{port}"));
            client.say(&format!("connect {name} 127.0.0.1:{port} {count}"));
            server.say(&format!("accept {name} l{port} {count}"));
        }
        client.say("connect heartbeat 127.0.0.1:4343 1");
        Application { state: tempfile::tempdir().unwrap(), client, _server: server }
    }

    /// A minute in which these move data.
    fn minute(&mut self, moving: &[&str]) -> Outcome {
        sleep(PACE);
        moving.iter().for_each(|name| drop(self.client.say(&format!("send {name}"))));
        look(&self.state, 4242, &["--side=client", "--rehearse=60", "--limit=20"])
    }

    #[track_caller]
    fn is_fine(&mut self, minutes: u32, moving: &[&str]) {
        for minute in 0..minutes {
            let seen = self.minute(moving);
            assert!(seen.code == 0 && !seen.text().contains("silent for"), "minute {minute}: {seen:?}");
        }
    }

    /// Nothing moves in the pool, but these do: until it is told.
    fn is_told(&mut self, moving: &[&str]) -> Outcome {
        let looks: Vec<_> = (0..20).map(|_| self.minute(moving)).take_while(|seen| seen.code == 0).collect();
        assert!((2..16).contains(&looks.len()), "five minutes, at whatever pace: {looks:?}");
        self.minute(moving)
    }
}

#[test]
fn a_pool_that_is_stuck_is_told_once_its_process_works_on() {
    Lab::test(|lab| {
        let mut application = Application::start(lab);
        let pid = application.client.pid();
        application.is_fine(14, &["pool", "other", "heartbeat"]);
        let told = application.is_told(&["other", "heartbeat"]);
        let (text, who) = (told.text(), format!("all 6 connections of peer[{pid}] silent for "));
        assert!(told.code == 1 && text.contains(&who), "{told:?}");
        assert!(
            text.contains(" (usually under ") && text.contains(", while its 4 others are busy, 6 of 20 connections"),
            "{told:?}"
        );
        // Its clients give up.
        let later = application.minute(&[]);
        assert!(later.code == 1 && later.text().contains(&who), "it is stuck still: {later:?}");
        application.is_fine(3, &["pool", "other"]);
        assert!(application.is_told(&["other", "heartbeat"]).text().contains(&who), "again");
    });
}

/// Neither is a night, in which a heartbeat goes on.
#[test]
fn a_pool_whose_process_rests_is_not_stuck() {
    Lab::test(|lab| {
        let mut application = Application::start(lab);
        application.is_fine(14, &["pool", "other", "heartbeat"]);
        application.is_fine(12, &["heartbeat"]);
        application.is_fine(3, &["pool", "other", "heartbeat"]);
        application.is_fine(12, &[]);
    });
}
