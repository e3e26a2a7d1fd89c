//! Growing pauses between looks at something that is about to settle.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// 10 ms, 20 ms, … to 1 s: quick to see a quick end, cheap while it takes long.
#[derive(Debug)]
pub struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Pauses { next: FIRST }
    }
}

impl Pauses {
    /// The next pause, but no longer than `left`.
    pub fn next(&mut self, left: Duration) -> Duration {
        let pause = self.next.min(left);
        self.next = (self.next * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_end_with_the_time() {
        let mut pauses = Pauses::default();
        let seen: Vec<_> = (0..9).map(|_| pauses.next(Duration::from_secs(9)).as_millis()).collect();
        assert_eq!(seen, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(pauses.next(Duration::from_millis(3)).as_millis(), 3);
    }
}
