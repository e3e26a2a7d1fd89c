//! Values of options that are amounts: limits, percentages, factors.

use std::str::FromStr;

/// `--limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitChoice {
    Auto,
    Number { number: u64, in_bytes: bool },
}

impl FromStr for LimitChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
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

/// `--baseline-warning`.
#[derive(Clone, Copy, Debug)]
pub struct Percent(pub u32);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('%').unwrap_or(text).parse() {
            Ok(percent @ 1..=100_000) => Ok(Percent(percent)),
            _ => Err(format!("bad percentage '{text}': use 1 to 100000, as 50 for half as many again")),
        }
    }
}

/// `--rehearse`.
#[derive(Clone, Copy, Debug)]
pub struct Speed(pub u32);

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(factor @ 1..=3600) => Ok(Speed(factor)),
            _ => Err(format!("bad factor '{text}': use 1 to 3600")),
        }
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
