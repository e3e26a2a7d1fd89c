//! Two hundred checks at once, as a scheduler starts them after its own restart.

use crate::lab::Lab;
use crate::lab::run::{CLOSEWAIT, GROWTH, ORPHANS, hold_to_contract};
use connleak::history::History;
use std::time::Duration;

const CROWD: usize = 200;
/// Of them one in four adds to one history.
const LOOKS: usize = CROWD / 4;

#[test]
fn all_end_right_and_no_history_is_lost() {
    Lab::test(|lab| {
        let (place, _leaking) = (tempfile::tempdir().unwrap(), lab.leaking_server("127.0.0.1:11211", 25));
        let state = place.path().to_str().unwrap();
        let growth = ["-p11211", "--side=server", "--limit=30", "-c50", "-t100", "--state-dir", state];
        assert_eq!(GROWTH.run(&growth).code, 2, "names are looked for once");
        // With what each has to say; the listener is an orphan too.
        let kinds = [
            (GROWTH, &growth[..], 2, "connections", 25.0),
            (CLOSEWAIT, &["-p11211", "--min-age=0s", "-t100"], 2, "close_wait", 25.0),
            (CLOSEWAIT, &["-p3306", "--min-age=0s", "-t100"], 0, "close_wait", 0.0),
            (ORPHANS, &["-p11211", "--side=server", "--wait=0s", "-t100"], 2, "orphans", 26.0),
        ];
        let crowd: Vec<_> = kinds.iter().cycle().take(CROWD).map(|kind| (kind.0.start(kind.1), kind)).collect();
        for (running, (_, args, code, label, count)) in crowd {
            let outcome = hold_to_contract(running.end());
            assert_eq!((outcome.code, outcome.value(label)), (*code, *count), "{args:?}: {outcome:?}");
        }
        let history = History::open(&place.path().join("0"), Duration::from_secs(1)).unwrap().history;
        let services = history.services().unwrap();
        let samples = history.samples(&services[0], Duration::from_secs(3600)).unwrap();
        assert_eq!((services.len(), samples.len()), (1, LOOKS + 1));
    });
}
