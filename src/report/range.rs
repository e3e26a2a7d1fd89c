//! Nagios ranges: parse, judge, display.
//!
//! The grammar is the Monitoring Plugins guideline's `[@][start:][end]`: alert outside start..end,
//! bounds belonging to the good part; `@` alerts inside instead; `~` is minus infinity; a missing
//! start is 0, a missing end infinity.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    start: f64,
    end: f64,
    alert_inside: bool,
}

impl Range {
    /// Alerts above `end` (and below 0, which no count or age is).
    pub fn up_to(end: f64) -> Range {
        Range { start: 0.0, end, alert_inside: false }
    }

    pub fn alerts(&self, value: f64) -> bool {
        let inside = self.start <= value && value <= self.end;
        inside == self.alert_inside
    }

    /// Whether rising values, or falling ones, leave this range before the `other`: then they never alert for that alone. Of others
    /// than simple ranges that is not told.
    pub fn is_left_before(&self, other: &Range) -> bool {
        let is_simple = !self.alert_inside && !other.alert_inside;
        let rising = self.start <= 0.0 && other.start <= 0.0 && self.end < other.end;
        let falling = self.end.is_infinite() && other.end.is_infinite() && self.start > other.start;
        is_simple && (rising || falling)
    }

    /// Whether any value from `low` to `high` would alert.
    pub fn may_alert(&self, low: f64, high: f64) -> bool {
        if self.alert_inside { high >= self.start && low <= self.end } else { low < self.start || high > self.end }
    }
}

/// A decimal number as the guideline means it: no exponent, no `nan`, no `inf`.
fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let decimal = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !decimal(whole) || !decimal(fraction) {
        return None;
    }
    // Adding 0 turns -0 into 0: it is displayed as `0`.
    text.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| value + 0.0)
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("bad range '{text}': {why}; write for example 10, 5:, ~:10, 5:10 or @5:10");
        if text.ends_with('%') {
            return Err(bad(
                "it is not a number: leave out the percent sign, --help tells which options are in percent",
            ));
        }
        let alert_inside = text.starts_with('@');
        let body = text.strip_prefix('@').unwrap_or(text);
        let (start, end) = match body.split_once(':') {
            Some((start, end)) => (start, end),
            None if body.is_empty() => return Err(bad("it is empty")),
            None => ("0", body),
        };
        let start = match start {
            "~" => f64::NEG_INFINITY,
            "" => 0.0,
            start => number(start).ok_or_else(|| bad(&format!("'{start}' is not a number")))?,
        };
        let end = match end {
            "" => f64::INFINITY,
            end => number(end).ok_or_else(|| bad(&format!("'{end}' is not a number")))?,
        };
        if start > end {
            return Err(bad("its start is above its end"));
        }
        Ok(Range { start, end, alert_inside })
    }
}

impl fmt::Display for Range {
    /// The shortest form: `10` rather than `0:10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.alert_inside {
            f.write_str("@")?;
        }
        if self.start == f64::NEG_INFINITY {
            f.write_str("~:")?;
        } else if self.start != 0.0 || self.end == f64::INFINITY {
            write!(f, "{}:", self.start)?;
        }
        if self.end == f64::INFINITY { Ok(()) } else { write!(f, "{}", self.end) }
    }
}

impl<'de> serde::Deserialize<'de> for Range {
    /// From a quoted string only: unquoted, YAML would read `10:20` as it likes.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Quoted;
        impl serde::de::Visitor<'_> for Quoted {
            type Value = Range;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quoted Nagios range such as \"10\" or \"5:20\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Range, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Quoted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The guideline's own table of examples: range, values that alert, values that don't.
    #[test]
    fn the_guidelines_table() {
        for (text, alerting, quiet) in [
            ("10", &[-1.0, 10.1, 11.0][..], &[0.0, 5.0, 10.0][..]),
            ("10:", &[-1.0, 0.0, 9.99], &[10.0, 1e9]),
            ("~:10", &[10.01, 11.0], &[-1e9, 0.0, 10.0]),
            ("10:20", &[9.0, 21.0], &[10.0, 15.0, 20.0]),
            ("@10:20", &[10.0, 15.0, 20.0], &[9.99, 20.01]),
        ] {
            let range: Range = text.parse().unwrap();
            assert!(alerting.iter().all(|value| range.alerts(*value)), "{text}");
            assert!(!quiet.iter().any(|value| range.alerts(*value)), "{text}");
            assert_eq!(range.to_string(), text);
        }
    }

    #[test]
    fn displays_the_shortest_form() {
        for (text, shown) in
            [("0:10", "10"), (":10", "10"), ("-0:1.50", "1.5"), ("0:", "0:"), ("@0:5", "@5"), ("~:", "~:")]
        {
            assert_eq!(text.parse::<Range>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn refuses_what_is_no_range() {
        for text in [
            "", "@", "nan", "inf", "20:10", "1e5", "10:20:30", "a", "10:b", "~", "5:~", " 5", "5 ", "1.", ".5", "--1",
            "0x10", "1,5",
        ] {
            let error = text.parse::<Range>().unwrap_err();
            assert!(error.contains(&format!("'{text}'")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn display_reads_back(start in -1e6..1e6f64, length in 0.0..1e6f64, inside: bool, low: bool, high: bool) {
            let range = Range {
                start: if low { f64::NEG_INFINITY } else { start },
                end: if high { f64::INFINITY } else { start + length },
                alert_inside: inside,
            };
            prop_assert_eq!(range.to_string().parse::<Range>().unwrap(), range);
        }

        #[test]
        fn inside_and_outside_are_opposites(text in "(~|-?[0-9]{1,4})?:([1-9][0-9]{4,5})?", value in -2e4..2e6f64) {
            let outside: Range = text.parse().unwrap();
            let inside: Range = format!("@{text}").parse().unwrap();
            prop_assert_ne!(outside.alerts(value), inside.alerts(value));
        }

        #[test]
        fn never_panics(text in "\\PC{0,12}") {
            let _ = text.parse::<Range>();
        }
    }
}
