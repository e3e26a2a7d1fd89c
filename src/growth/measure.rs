//! What may leak, and how much of it there can be, as options give them.

use crate::base::error::{Error, Result};
use crate::base::word;
use crate::growth::process_usage::MIB;
use std::str::FromStr;

/// `--metric`: what may leak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measure {
    #[default]
    Connections,
    Descriptors,
    /// Resident memory, in bytes; the detector counts it in MiB.
    Memory,
}

impl Measure {
    /// As the option and the perfdata call it.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Connections => "connections",
            Measure::Descriptors => "fds",
            Measure::Memory => "rss",
        }
    }

    /// What one of the detector's items stands for.
    pub fn each(self) -> u64 {
        if self == Measure::Memory { MIB } else { 1 }
    }

    /// What there can be by option or profile; `None`: as much as what runs out allows.
    ///
    /// # Errors
    /// A number that no count of this measure reaches.
    pub fn limit(self, chosen: Option<LimitChoice>, profile: Option<u64>) -> Result<Option<u64>> {
        match chosen {
            Some(LimitChoice::Number { number, in_bytes }) => {
                if self != Measure::Memory && (in_bytes || u32::try_from(number).is_err()) {
                    let name = self.name();
                    return Err(Error::Usage(format!(
                        "--limit: '{number}' is too many {name}; bytes are for --metric rss"
                    )));
                }
                Ok(Some(number))
            }
            _ => Ok(profile.filter(|_| self == Measure::Connections)),
        }
    }

    /// `412`, `412 connections`, `412 MiB`.
    pub fn amount(self, amount: u64, with_unit: bool) -> String {
        match (self, with_unit) {
            (Measure::Memory, _) => format!("{} MiB", amount / MIB),
            (_, false) => amount.to_string(),
            (Measure::Connections, true) => format!("{amount} connections"),
            (Measure::Descriptors, true) => format!("{amount} descriptors"),
        }
    }
}

impl FromStr for Measure {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let all = [Measure::Connections, Measure::Descriptors, Measure::Memory];
        word::choose("metric", text, &all.map(|measure| (measure.name(), measure)))
    }
}

/// `--limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitChoice {
    Auto,
    Number { number: u64, in_bytes: bool },
}

impl FromStr for LimitChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let bad = || format!("bad limit '{text}': write a number of connections, bytes as 512M or 2G, or auto");
        if text == "auto" {
            return Ok(LimitChoice::Auto);
        }
        let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let power = match unit.strip_suffix("iB").or(unit.strip_suffix('B')).unwrap_or(unit) {
            "" => 0,
            "K" => 1,
            "M" => 2,
            "G" => 3,
            "T" => 4,
            _ => return Err(bad()),
        };
        let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1024u64.pow(power)));
        let number = number.filter(|number| (1..=1 << 60).contains(number)).ok_or_else(bad)?;
        Ok(LimitChoice::Number { number, in_bytes: !unit.is_empty() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_may_have_units_of_bytes() {
        let of = |text: &str| text.parse::<LimitChoice>();
        assert_eq!(of("auto"), Ok(LimitChoice::Auto));
        assert_eq!(of("512"), Ok(LimitChoice::Number { number: 512, in_bytes: false }));
        for text in ["2M", "2MB", "2MiB", "2048K"] {
            assert_eq!(of(text), Ok(LimitChoice::Number { number: 2 << 20, in_bytes: true }), "{text}");
        }
        for bad in ["", "0", "-1", "1.5G", "2m", "2iB2", "2X", "M", "99999999999999999999", "2000000T"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
