//! A Python with the packages that tests/support/requirements.txt names, in a venv below target/.

use crate::lab::Lab;
use crate::lab::isolated::is_inside;
use crate::lab::run::finish;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::time::Duration;

/// `tests/run` makes it beforehand; a bare `cargo test` waits for it once.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn venv() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv")
}

/// Makes it, where the package index can be reached: before the test's lab, which has no way out.
pub fn prepare_python() {
    static PREPARED: Once = Once::new();
    if !is_inside() {
        PREPARED.call_once(make);
    }
}

fn make() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/venv");
    // Where it fails `python` says so.
    if let Ok(mut child) = Command::new(script).arg(venv()).stdin(Stdio::null()).stdout(Stdio::null()).spawn() {
        finish(&mut child, PATIENCE);
    }
}

/// The interpreter that was prepared; `None`: skipped.
pub fn python(lab: &Lab) -> Option<PathBuf> {
    let is_made = venv().join(".complete").exists();
    if !is_made {
        lab.skip("a Python with packages: tests/support/venv makes none");
    }
    is_made.then(|| venv().join("bin/python"))
}
