//! What runs out first may be what can't be read.

use crate::lab::Lab;
use crate::lab::run::GROWTH;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn open_files_that_cant_be_read_are_a_doubt_where_nothing_else_limits() {
    Lab::test(|lab| {
        let (_server, _client) = lab.connected("127.0.0.1:27770", 5);
        let state = tempfile::tempdir().unwrap();
        fs::set_permissions(state.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let options = ["-p27770", "--state-dir", state.path().to_str().unwrap()];
        let root = GROWTH.run(&options);
        assert!(root.code == 0 && root.text().contains("open files of peer["), "{root:?}");
        let nobody = GROWTH.unprivileged(&options);
        assert!(nobody.code == 3 && nobody.text().contains("open files unknown of who holds"), "{nobody:?}");
        assert!(nobody.text().contains("maybe they run out first"), "{nobody:?}");
        let limited = GROWTH.unprivileged(&[&options[..], &["--limit=100"]].concat());
        assert!(limited.code == 0 && !limited.text().contains("run out first"), "{limited:?}");
    });
}
