//! What the kernel tells twice. A dump goes on in a chain of its hash table by the number of rows told: where others
//! were put before them meanwhile, the last ones come again (`inet_diag_dump_icsk` in net/ipv4/inet_diag.c, 6.18). It
//! lets go of a chain after each 16 rows, and at the end of what is received at once. Where the table is as large
//! as usual chains are short, and this is never seen.

use std::num::NonZeroU64;

#[derive(Default)]
pub(super) struct Repeats {
    /// Cookies of what was received before, and now.
    before: Told,
    now: Told,
}

impl Repeats {
    pub(super) fn begin(&mut self) {
        std::mem::swap(&mut self.before, &mut self.now);
        self.now.cookies.clear();
        self.now.marks = [0; MARKS];
    }

    /// Whether the row was told.
    pub(super) fn has(&mut self, cookie: Option<NonZeroU64>) -> bool {
        let Some(cookie) = cookie else { return false };
        let is_again = self.now.has(cookie) || self.before.has(cookie);
        if !is_again {
            self.now.add(cookie);
        }
        is_again
    }
}

/// What one receive told: some hundred rows.
#[derive(Default)]
struct Told {
    cookies: Vec<NonZeroU64>,
    /// A bit for each cookie, by its lower end: almost no row is looked for among all of them.
    marks: [u64; MARKS],
}

const MARKS: usize = 32;

impl Told {
    fn mark(cookie: NonZeroU64) -> (usize, u64) {
        let number = cookie.get();
        ((number >> 6) as usize % MARKS, 1 << (number % 64))
    }

    fn has(&self, cookie: NonZeroU64) -> bool {
        let (at, bit) = Told::mark(cookie);
        self.marks[at] & bit != 0 && self.cookies.contains(&cookie)
    }

    fn add(&mut self, cookie: NonZeroU64) {
        let (at, bit) = Told::mark(cookie);
        self.marks[at] |= bit;
        self.cookies.push(cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_come_again_are_shown_once() {
        let row = |number| NonZeroU64::new(number);
        let mut repeats = Repeats::default();
        repeats.begin();
        let first: Vec<bool> = (1..=100).map(|number| repeats.has(row(number))).collect();
        assert!(!first.contains(&true));
        assert!(repeats.has(row(100)) && repeats.has(row(90)), "after a chunk");
        assert!(!repeats.has(row(100 + 64 * MARKS as u64)), "another one with the same mark");
        repeats.begin();
        assert!((60..=100).all(|number| repeats.has(row(number))), "at the beginning of the next");
        assert!(!repeats.has(row(101)) && repeats.has(row(101)));
        assert!(!repeats.has(None) && !repeats.has(None), "what has no cookie can't be told apart");
    }
}
