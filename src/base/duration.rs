//! Durations as people write and read them: `90`, `60s`, `1h30m`; `2h13m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time: a number of seconds, or numbers with units (ms, s, m, h, d, w).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    pub const fn seconds(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    pub const fn millis(millis: u64) -> Span {
        Span(Duration::from_millis(millis))
    }

    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("bad duration '{text}': write for example 90, 60s, 20m, 2h or 1h30m");
        let seconds_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let span = if seconds_only {
            Duration::from_secs(text.parse().map_err(|_| bad())?)
        } else {
            humantime::parse_duration(text).map_err(|_| bad())?
        };
        // A century is more than any socket lives, and keeps sums of milliseconds far from overflow.
        if span > Duration::from_secs(100 * 366 * 86_400) {
            return Err(bad());
        }
        Ok(Span(span))
    }
}

impl fmt::Display for Span {
    /// The two largest units: `850ms`, `1.6s`, `45s`, `2m5s`, `2h13m`, `3d4h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.as_millis();
        if millis < 1000 && millis != 0 {
            return write!(f, "{millis}ms");
        }
        let seconds = millis / 1000;
        if seconds < 10 && millis % 1000 >= 100 {
            return write!(f, "{seconds}.{}s", millis % 1000 / 100);
        }
        let (large, unit, rest, small) = match seconds {
            0..60 => return write!(f, "{seconds}s"),
            60..3600 => (seconds / 60, "m", seconds % 60, "s"),
            3600..86_400 => (seconds / 3600, "h", seconds % 3600 / 60, "m"),
            _ => (seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
        };
        write!(f, "{large}{unit}")?;
        if rest == 0 { Ok(()) } else { write!(f, "{rest}{small}") }
    }
}

impl<'de> serde::Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A visitor, as only its errors tell the key and the line.
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 60s")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows() {
        for (text, shown) in [
            ("0", "0s"),
            ("0s", "0s"),
            ("850ms", "850ms"),
            ("1650ms", "1.6s"),
            ("3s 99ms", "3s"),
            ("90", "1m30s"),
            ("60s", "1m"),
            ("1h30m", "1h30m"),
            ("2h 13m 5s", "2h13m"),
            ("76h", "3d4h"),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in ["", "-5", "5x", "nan", "1e3", "99999999999999999999", "9999999999", "300y", "5 apples"] {
            assert!(text.parse::<Span>().unwrap_err().contains(&format!("'{text}'")), "{text}");
        }
    }
}
