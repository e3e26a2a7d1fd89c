//! Times and numbers as the page says them.

use connleak::base::duration::Span;
use std::time::{Duration, UNIX_EPOCH};

/// `2026-11-21 14:05`, of seconds since 1970.
pub fn instant(seconds: f64) -> String {
    let whole = UNIX_EPOCH + Duration::from_secs(seconds.clamp(0.0, 253_402_300_799.0) as u64);
    let text = humantime::format_rfc3339_seconds(whole).to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

/// `2h13m`.
pub fn span(seconds: f64) -> String {
    Span::seconds(seconds.abs().min(1e11).round() as u64).to_string()
}

/// At most one digit after the point, thousands apart.
pub fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digit = |(index, digit): (usize, char)| {
        let apart = index > 0 && digit.is_ascii_digit() && (whole.len() - index).is_multiple_of(3);
        if apart { format!(",{digit}") } else { digit.to_string() }
    };
    whole.chars().enumerate().map(digit).chain([rest.to_owned()]).collect()
}

/// `1 line`, `3 lines`.
pub fn many(count: usize, what: &str) -> String {
    format!("{} {what}{}", number(count as f64), if count == 1 { "" } else { "s" })
}

/// Connections per second as people say it: by the minute, hour or day.
pub fn rate(per_second: f64) -> String {
    let (times, unit) = match per_second.abs() {
        fast if fast >= 0.2 / 60.0 => (60.0, "min"),
        slow if slow >= 0.2 / 3600.0 => (3600.0, "h"),
        _ => (86_400.0, "day"),
    };
    let value = per_second * times;
    let value = if value.abs() < 1.0 && value != 0.0 { format!("{value:.2}") } else { number(value) };
    format!("{}{value}/{unit}", if per_second > 0.0 { "+" } else { "" })
}

/// Text that stays one line and reads in one direction, whatever a process calls itself.
pub fn plain(text: &str) -> String {
    let screen = |letter: char| match letter {
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '\u{fffd}',
        letter if letter.is_control() => '\u{fffd}',
        letter => letter,
    };
    text.chars().map(screen).collect()
}

/// Plain text for the charts' labels, in which plotly.js knows some tags.
pub fn label(text: &str) -> String {
    plain(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_are_said_shortly() {
        assert_eq!(instant(1_700_000_000.9), "2023-11-14 22:13");
        assert_eq!(instant(-5.0), "1970-01-01 00:00");
        assert_eq!([number(999.0), number(1234567.26), number(0.04)], ["999", "1,234,567.3", "0"]);
        assert_eq!(span(-7980.0), "2h13m");
        assert_eq!(
            [rate(0.0534), rate(0.0004), rate(0.00001), rate(0.0)],
            ["+3.2/min", "+1.4/h", "+0.86/day", "0/day"]
        );
    }

    #[test]
    fn hostile_names_stay_text() {
        assert_eq!(plain("a\nb\u{202e}c\u{1b}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(label("<a href='x'>&amp;"), "&lt;a href='x'&gt;&amp;amp;");
    }
}
