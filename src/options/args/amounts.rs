//! Values of options that are amounts: percentages, factors.

use std::str::FromStr;

/// `--usual-warning`.
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
