//! Where the page goes: a file, whole or not at all, or standard output; and the browser.

use connleak::base::atomic_file;
use connleak::base::error::plain;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const DEFAULT: &str = "connleak.html";
/// A browser that was not there to be called says so in less.
const REFUSES_WITHIN: Duration = Duration::from_secs(3);

pub struct Target {
    /// `None`: standard output.
    path: Option<PathBuf>,
    open: bool,
}

impl Target {
    /// Refuses what can't be written before any work is done.
    pub fn of(asked: Option<&Path>, open: bool) -> Result<Target, String> {
        let path = asked.unwrap_or(Path::new(DEFAULT));
        if path == Path::new("-") {
            let refused = open.then(|| "--open needs a file: give its name with -O".to_owned());
            return refused.map_or(Ok(Target { path: None, open }), Err);
        }
        if path.as_os_str().is_empty() {
            return Err("-O has no name; give a file such as leak.html".to_owned());
        }
        if let Some(ending @ ("svg" | "png" | "pdf" | "jpg" | "jpeg" | "webp")) =
            path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase).as_deref()
        {
            return Err(format!(
                "{}: a page is drawn by a browser: write .html and save .{ending} from there (the camera above the chart), \
                 or 'chromium --headless --screenshot'",
                path.display()
            ));
        }
        // Links of our own stay; a rename over a device or a folder would replace it.
        let path = atomic_file::through_links(path).map_err(|why| why.to_string())?;
        if path.metadata().is_ok_and(|meta| !meta.is_file()) {
            return Err(format!("{}: not a plain file; name another with -O", path.display()));
        }
        Ok(Target { path: Some(path), open })
    }

    /// Whether it is this file, which must stay.
    pub fn is(&self, other: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        self.path.as_deref().and_then(real).is_some_and(|path| real(other) == Some(path))
    }

    pub fn is_file(&self) -> bool {
        self.path.is_some()
    }

    pub fn write(&self, page: &str) -> Result<(), String> {
        match &self.path {
            Some(path) => atomic_file::write(path, page.as_bytes(), 0o644).map_err(|why| why.to_string()),
            None => match io::stdout().lock().write_all(page.as_bytes()) {
                // Whoever read it has seen enough.
                Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                written => written.map_err(|why| format!("can't write standard output: {}", plain(&why))),
            },
        }
    }

    /// Calls the desktop's browser, where that is asked for.
    pub fn open(&self) -> Result<(), String> {
        let Some(path) = self.path.as_ref().filter(|_| self.open) else { return Ok(()) };
        let failed =
            |why: String| format!("{} is written, but xdg-open can't show it: {why}; open it by hand", path.display());
        let real = path.canonicalize().map_err(|why| failed(plain(&why)))?;
        let mut command = Command::new("xdg-open");
        command.arg(real).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|why| failed(plain(&why)))?;
        let until = Instant::now() + REFUSES_WITHIN;
        while Instant::now() < until {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(failed(status.to_string())),
                Ok(None) => sleep(Duration::from_millis(20)),
                Err(why) => return Err(failed(plain(&why))),
            }
        }
        // Some browsers stay in the foreground.
        Ok(())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => path.display().fmt(f),
            None => f.write_str("standard output"),
        }
    }
}
