//! What earlier looks tell of UNIX sockets: that of which the kernel says nothing any more, and what need not be asked
//! again.

use crate::kernel::socket::{Socket, UnixName};
use crate::kernel::source::unix::{File, Row};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::num::NonZeroU64;

/// For numbers that the kernel gives one after the other: nobody chooses them.
#[derive(Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Cookies and inodes.
pub type NumberSet<T> = HashSet<T, BuildHasherDefault<NumberHasher>>;
pub type NumberMap<T, V> = HashMap<T, V, BuildHasherDefault<NumberHasher>>;

/// Tells most numbers that are not among some: of 20,000 sockets most are somebody else's.
pub struct Sieve(Vec<u64>);

impl Sieve {
    const WORDS: usize = 1024;

    pub fn of(numbers: impl Iterator<Item = NonZeroU64>) -> Sieve {
        let mut words = vec![0; Sieve::WORDS];
        for number in numbers {
            words[Sieve::place(number)] |= 1 << (number.get() & 63);
        }
        Sieve(words)
    }

    /// The kernel gives cookies one after the other: those of one boot seldom share a place.
    fn place(number: NonZeroU64) -> usize {
        (number.get() >> 6) as usize % Sieve::WORDS
    }

    #[inline(always)]
    pub fn may_have(&self, number: NonZeroU64) -> bool {
        self.0[Sieve::place(number)] >> (number.get() & 63) & 1 == 1
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Clients' ends that were connected, with what to, by cookie: once the server has closed nothing else tells.
    pub clients: NumberMap<NonZeroU64, UnixName>,
    /// The targets' listeners that have a file.
    pub listeners: Vec<KnownListener>,
    /// Names at which somebody listens, or did and connections are left.
    pub heard: BTreeSet<UnixName>,
    /// Clients' ends, by cookie, whose servers had closed before the first look: nothing ever told whose they were.
    pub strays: NumberSet<NonZeroU64>,
    /// Strays that this look shows and that may be selected; without a user where the kernel wasn't asked for it.
    pub astray: Vec<Socket>,
    /// Names among `heard` where nobody listens any more, as this look shows it.
    pub unheard: Vec<UnixName>,
    /// Whether there was a look before this one.
    pub has_looked: bool,
    /// Whether the last look met clients that none before it knew: then the next one asks for peers at once.
    pub is_busy: bool,
}

/// A listener is bound once, and as long as it is there its file is no other's: who meets it again by its cookie
/// knows the file of all sockets that have its name, and need not ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownListener {
    pub cookie: NonZeroU64,
    pub file: File,
    /// As bound.
    pub name: String,
}

impl KnownListener {
    /// `None`: it has no file, or a name that is no line of text.
    pub fn of(row: &Row, file: Option<File>) -> Option<KnownListener> {
        let name = std::str::from_utf8(row.name).ok().filter(|name| !name.contains('\n') && !name.is_empty())?;
        Some(KnownListener { cookie: row.cookie?, file: file?, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sieve_lets_all_pass_that_are_among_them() {
        let of = |number| NonZeroU64::new(number);
        let among: Vec<NonZeroU64> = (1..5000).step_by(3).chain([u64::MAX]).filter_map(of).collect();
        let sieve = Sieve::of(among.iter().copied());
        assert!(among.iter().all(|number| sieve.may_have(*number)));
        assert!((1..5000).filter_map(of).filter(|number| sieve.may_have(*number)).count() < 1700);
    }
}
