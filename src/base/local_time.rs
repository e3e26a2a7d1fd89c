//! Wall-clock times as an operator reads them: in the machine's own zone.

use crate::base::capabilities;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fs;

/// An instant (seconds since 1970) as told at `now`: `14:05`, with the date where that is another day.
/// Where no zone is known it is UTC, and says so.
pub fn describe(at: f64, now: f64) -> String {
    let zone = zone();
    let (zone, mark) = zone.map_or((TimeZone::UTC, "Z"), |zone| (zone, ""));
    let instant = |seconds: f64| Timestamp::from_second(seconds as i64).unwrap_or_default().to_zoned(zone.clone());
    let (at, now) = (instant(at), instant(now));
    let format = if at.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    format!("{}{mark}", at.strftime(format))
}

/// By `$TZ`, else `/etc/localtime`. The environment isn't followed under another's rights.
fn zone() -> Option<TimeZone> {
    if capabilities::are_borrowed() {
        return TimeZone::tzif("local", &fs::read("/etc/localtime").ok()?).ok();
    }
    TimeZone::try_system().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_day_is_told_with_its_date() {
        let noon = 1_700_049_600.0;
        assert!(!describe(noon, noon + 60.0).contains('-') || describe(noon, noon + 60.0).len() > 6);
        let old = describe(noon, noon + 3.0 * 86_400.0);
        assert!(old.starts_with("2023-11-1") && old.contains(':'), "{old}");
        assert!(!describe(-1e300, 1e300).is_empty());
    }
}
