//! One pass over the selected sockets: counts by state and side.

use crate::kernel::socket::{Side, State};

#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By side (server, client), then by the kernel's state number.
    counts: [[u64; 12]; 2],
}

impl Tally {
    pub fn add(&mut self, side: Side, state: State) {
        self.counts[usize::from(side == Side::Client)][state as usize] += 1;
    }

    pub fn count(&self, side: Side, state: State) -> u64 {
        let [server, client] = self.counts.map(|counts| counts[state as usize]);
        match side {
            Side::Server => server,
            Side::Client => client,
            Side::Both => server + client,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_side_and_both() {
        let mut tally = Tally::default();
        for (side, times) in [(Side::Server, 7), (Side::Client, 5)] {
            for _ in 0..times {
                tally.add(side, State::CloseWait);
            }
        }
        tally.add(Side::Server, State::Closing);
        let counts = [Side::Server, Side::Client, Side::Both].map(|side| tally.count(side, State::CloseWait));
        assert_eq!(counts, [7, 5, 12]);
        assert_eq!(tally.count(Side::Both, State::Closing), 1);
    }
}
