//! A pool that is stuck, as the check tells it.

use crate::base::duration::Span;
use serde_json::{Value, json};

/// All connections of a process have been silent for longer than they ever are at once, and it works on.
#[derive(Clone, Debug, PartialEq)]
pub struct StuckPool {
    /// `node[7]`
    pub holder: String,
    pub connections: u64,
    /// Seconds.
    pub silent: f64,
    /// What this usually stays below, in seconds.
    pub usual: f64,
    /// Other connections of the process on which data moves now.
    pub busy: u64,
}

impl StuckPool {
    pub fn reason(&self) -> String {
        let StuckPool { holder, connections, .. } = self;
        let [silent, usual] = [self.silent, self.usual].map(span);
        let others = match self.busy {
            0 => "as it has been since others of it were busy".to_owned(),
            1 => "while another one of it is busy".to_owned(),
            busy => format!("while its {busy} others are busy"),
        };
        format!("all {connections} connections of {holder} silent for {silent} (usually under {usual}), {others}")
    }

    pub fn json(&self) -> Value {
        let StuckPool { holder, connections, silent, usual, busy } = self;
        json!({
            "holder": holder,
            "connections": connections,
            "silent_seconds": silent.round(),
            "usual_seconds": usual.ceil(),
            "busy_others": busy,
        })
    }
}

/// To the second, where it is that long.
fn span(seconds: f64) -> Span {
    let seconds = seconds.clamp(0.0, 1e9);
    if seconds < 1.0 { Span::millis((seconds * 1000.0).ceil() as u64) } else { Span::seconds(seconds.round() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_with_what_is_usual_and_who_works_on() {
        let stuck = StuckPool { holder: "node[7]".into(), connections: 10, silent: 300.4, usual: 4.0, busy: 12 };
        assert_eq!(
            stuck.reason(),
            "all 10 connections of node[7] silent for 5m (usually under 4s), while its 12 others are busy"
        );
        let at_night = StuckPool { busy: 0, ..stuck };
        assert!(at_night.reason().ends_with("(usually under 4s), as it has been since others of it were busy"));
    }
}
