//! Ages as services print them: seconds, intervals, and moments that are reckoned by this host's clock.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// `75`, `75.3`, `00:01:15.3`, `2 days 03:00:00`. A negative one, as of a clock that is behind, is none.
pub fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(number.max(0.0) as u64);
    }
    let (days, clock) = match text.split_once(" day") {
        Some((days, clock)) => (days.parse::<u64>().ok()?, clock.trim_start_matches('s').trim()),
        None => (0, text),
    };
    let mut parts = clock.split(':').map(|part| part.parse::<f64>().ok().filter(|part| (0.0..1e9).contains(part)));
    let clock = match (clock.is_empty(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (true, ..) => 0.0,
        (_, Some(hours), Some(minutes), Some(seconds), None) => hours? * 3600.0 + minutes? * 60.0 + seconds?,
        _ => return None,
    };
    days.checked_mul(86_400)?.checked_add(clock as u64)
}

/// Seconds since `2026-11-28 09:31:48.27+00`, or without a zone in this host's.
pub fn since(text: &str) -> Option<u64> {
    let then = moment(text.trim())?;
    u64::try_from(Timestamp::now().duration_since(then).as_secs().max(0)).ok()
}

fn moment(text: &str) -> Option<Timestamp> {
    let zoned = text.strip_suffix(" UTC").map(|text| format!("{text}+00"));
    if let Ok(told) = zoned.as_deref().unwrap_or(text).parse() {
        return Some(told);
    }
    let naive: DateTime = text.parse().ok()?;
    let zoned: Zoned = naive.to_zoned(TimeZone::system()).ok()?;
    Some(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_in_every_form() {
        for (text, told) in [
            ("75", Some(75)),
            (" 75.9 ", Some(75)),
            ("-3", Some(0)),
            ("00:01:15.3", Some(75)),
            ("2 days 03:00:01", Some(183_601)),
            ("1 day", Some(86_400)),
            ("NaN", None),
            ("a:b:c", None),
            ("1:2", None),
            ("99999999999999999999 days", None),
        ] {
            assert_eq!(seconds(text), told, "{text}");
        }
    }

    #[test]
    fn moments_have_a_zone_or_this_hosts() {
        let told = moment("2026-11-28 09:31:48.277178+00").unwrap();
        for same in
            ["2026-11-28T09:31:48.277178+00:00", "2026-11-28 11:31:48.277178+02", "2026-11-28 15:01:48.277178+05:30"]
        {
            assert_eq!(moment(same), Some(told), "{same}");
        }
        assert_eq!(moment("2026-11-28 09:31:48 UTC").map(|then| then.as_second()), Some(told.as_second()));
        assert!(moment("2026-11-28 09:30:53").is_some() && moment("yesterday").is_none());
        assert_eq!(since("9999-01-01 00:00:00+00"), Some(0), "a clock that is ahead");
        assert!(since("1999-01-01 00:00:00+00") > Some(800_000_000));
    }
}
