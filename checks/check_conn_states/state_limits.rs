//! Thresholds of one TCP state, as `--state` takes them.

use connleak::kernel::socket::State;
use connleak::report::verdict::Limits;
use std::str::FromStr;

/// `--state`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StateLimits {
    pub state: State,
    pub limits: Limits,
}

impl FromStr for StateLimits {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let separator = if text.contains(',') { ',' } else { ':' };
        let parts: Vec<&str> = text.split(separator).collect();
        let ([state, warning] | [state, warning, _]) = parts[..] else {
            return Err(format!(
                "bad thresholds '{text}': write STATE:WARN:CRIT, for example TIME_WAIT:5000:20000 or SYN_SENT::10; \
                ranges with a colon as ESTABLISHED,5:500,1:"
            ));
        };
        let range = |text: &str| (!text.is_empty()).then(|| text.parse()).transpose();
        let limits = Limits { warning: range(warning)?, critical: range(parts.get(2).unwrap_or(&""))? };
        if limits == Limits::default() {
            return Err(format!("bad thresholds '{text}': neither WARN nor CRIT is given"));
        }
        Ok(StateLimits { state: state.parse()?, limits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_of_a_state_are_read() {
        let of = |text: &str| text.parse::<StateLimits>();
        let limits =
            |warning: &str, critical: &str| Limits { warning: warning.parse().ok(), critical: critical.parse().ok() };
        let read = |state, warning, critical| Ok(StateLimits { state, limits: limits(warning, critical) });
        assert_eq!(of("TIME_WAIT:5:10"), read(State::TimeWait, "5", "10"));
        assert_eq!(of("time-wait::10"), read(State::TimeWait, "", "10"));
        assert_eq!(of("06:5:"), read(State::TimeWait, "5", ""));
        assert_eq!(of("estab:5"), read(State::Established, "5", ""));
        assert_eq!(of("ESTAB,5:,@1:2"), read(State::Established, "5:", "@1:2"));
        for bad in ["", "TIME_WAIT", "TIME_WAIT::", "TIME_WAIT:x:", "X:5:10", "ESTAB:5:6:7", "ESTAB:5::6:"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
