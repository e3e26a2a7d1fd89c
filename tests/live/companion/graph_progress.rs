//! connleak graph on a file that comes slowly: a bar on a terminal, and nothing where there is none.

use crate::lab::Lab;
use crate::lab::run::{CONNLEAK, PATIENCE, poll};
use crate::tmux::Tmux;
use std::fs::{read_to_string, write};

/// It is looked at each 8,192 lines, and a bar is for what takes longer than a second. The last line comes
/// once the bar was seen.
const SLOWLY: &str =
    "slowly() { sleep 1.5; seq 9000 | sed s/$/,5/; until [ -e seen ]; do sleep 0.1; done; echo 9001,5; }";

#[test]
fn what_takes_long_is_shown_on_a_terminal_and_nowhere_else() {
    Lab::test(|lab| {
        let dir = tempfile::tempdir().unwrap();
        let line = format!(
            "cd {} && mkfifo seen.csv unseen.csv && {SLOWLY}; slowly >seen.csv & slowly >unseen.csv & \
             {CONNLEAK} graph unseen.csv -O unseen.html >said 2>&1 & {CONNLEAK} graph seen.csv",
            dir.path().display()
        );
        let Some(tmux) = Tmux::start(lab, (100, 30), &line) else { return };
        let shown = tmux.wait_for(&["reading seen.csv"]);
        assert!(!shown.contains("samples"), "{shown}");
        write(dir.path().join("seen"), "").unwrap();
        let ended = tmux.wait_for(&["seen.csv: 9,001 samples.", "ended 0"]);
        assert!(!ended.contains("reading"), "{ended}");
        let said = dir.path().join("said");
        let is_said = || read_to_string(&said).is_ok_and(|said| said.ends_with('\n'));
        assert!(poll(PATIENCE, is_said));
        assert_eq!(read_to_string(&said).unwrap(), "unseen.html: unseen.csv: 9,001 samples.\n");
    });
}
