//! A Python with the packages that tests/support/requirements.txt names, in a venv below target/.

use crate::lab::Lab;
use crate::lab::run::finish;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// `tests/run` makes it beforehand; a bare `cargo test` waits for it once.
const PATIENCE: Duration = Duration::from_secs(180);

/// The interpreter; `None`: skipped.
pub fn python(lab: &Lab) -> Option<PathBuf> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    // The package index is not in the test's namespace.
    let made = lab.outside(|| MADE.get_or_init(make).clone());
    made.map_err(|why| lab.skip(&format!("a Python with packages: {why}"))).ok()
}

fn make() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/venv");
    let mut command = Command::new(script);
    let started = command.arg(&venv).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut child = started.map_err(|why| why.to_string())?;
    match finish(&mut child, PATIENCE) {
        Some(status) if status.success() => Ok(venv.join("bin/python")),
        Some(status) => Err(format!("tests/support/venv: {status}")),
        None => Err(format!("tests/support/venv: no end in {PATIENCE:?}")),
    }
}
