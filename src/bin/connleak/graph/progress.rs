//! A bar for what takes longer than a second, on a terminal only.

use super::words;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(1);

pub struct Bar {
    what: String,
    since: Instant,
    shown: Option<ProgressBar>,
}

impl Bar {
    pub fn new(what: &str) -> Bar {
        Bar { what: words::plain(what), since: Instant::now(), shown: None }
    }

    /// `all`: 0 where it isn't known.
    pub fn at(&mut self, done: u64, all: u64) {
        if self.shown.is_none() && self.since.elapsed() > SOON {
            // Draws nothing where standard error is no terminal; knows NO_COLOR.
            let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
            let style = if all > 0 { "{msg} {wide_bar:.blue} {percent}%" } else { "{msg} {spinner}" };
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(self.what.clone());
            self.shown = Some(bar);
        }
        if let Some(bar) = &self.shown {
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
