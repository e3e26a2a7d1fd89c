//! A watch as plain lines, where there is no terminal to draw on.

use super::frame::{Frame, Story, mebibytes};
use crate::screen::visible;
use connleak::base::duration::Span;
use connleak::kernel::socket::State;
use std::time::{Duration, UNIX_EPOCH};

/// Owners named in a line.
const MOST_OWNERS: usize = 3;

/// `2026-11-21T12:30:05Z ESTABLISHED 12, CLOSE_WAIT 3 (oldest 2m5s), opened 2, closed 1, php-fpm 12 (+3)`.
pub fn line(story: &Story, frame: &Frame) -> String {
    let wall = UNIX_EPOCH + Duration::from_millis(frame.wall.max(0).cast_unsigned());
    let mut parts = Vec::new();
    for (state, name) in State::NAMES {
        let always = matches!(state, State::Established | State::CloseWait | State::TimeWait);
        let oldest = match state {
            State::Established => idle(frame.idle.oldest),
            State::CloseWait => frame.close_wait.oldest_text(),
            _ => String::new(),
        };
        if always || frame.count(state) > 0 {
            parts.push(format!("{name} {}{oldest}", frame.count(state)));
        }
    }
    if let (Some(opened), Some(closed)) = (frame.opened, frame.closed) {
        parts.push(format!("opened {opened}, closed {closed}"));
    }
    for (name, now, growth) in story.growth().into_iter().take(MOST_OWNERS) {
        parts.push(format!("{} {now} ({growth:+})", visible(name)));
    }
    if let Some(usage) = frame.usage {
        parts.push(format!("descriptors {}, memory {}", usage.descriptors, mebibytes(usage.rss)));
    }
    parts.extend(frame.notes.iter().map(|note| format!("note: {}", visible(note))));
    format!("{} {}\n", humantime::format_rfc3339_seconds(wall), parts.join(", "))
}

fn idle(oldest: Option<u64>) -> String {
    oldest.map_or(String::new(), |age| format!(" (idle {})", Span::millis(age)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_all() {
        let mut story = Story::default();
        let mut frame = Frame { wall: 1_700_000_000_000, ..Frame::default() };
        frame.owners.insert("a\u{1b}".into(), 3);
        story.add(frame.clone());
        frame.owners.insert("a\u{1b}".into(), 5);
        frame.counts[0] = 4;
        frame.counts[7] = 1;
        frame.close_wait.add(90.0);
        (frame.opened, frame.closed) = (Some(2), Some(0));
        frame.notes.push("not recorded: x".into());
        story.add(frame.clone());
        assert_eq!(
            line(&story, &frame),
            "2023-11-14T22:13:20Z ESTABLISHED 4, TIME_WAIT 0, CLOSE_WAIT 1 (oldest 1m30s), opened 2, closed 0, \
             a\\u{1b} 5 (+2), note: not recorded: x\n"
        );
    }
}
