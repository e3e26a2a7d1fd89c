//! Inodes that are looked for in descriptor tables, and which of them have been met.

use std::collections::BTreeSet;

/// Sockets by inode and user.
pub type Wanted<'a> = dyn Iterator<Item = (u64, u32)> + 'a;

#[derive(Debug, Default)]
pub struct Sought {
    /// Sorted, each once.
    inodes: Vec<u64>,
    held: Vec<bool>,
    left: usize,
    /// Behind the last that was met: what is opened in turn has descriptors in turn.
    next: usize,
    /// Whose they are, as far as that is told.
    pub users: BTreeSet<u32>,
}

impl Sought {
    pub fn of(sockets: &mut Wanted) -> Sought {
        let mut users = BTreeSet::new();
        let inode = |(inode, uid)| {
            users.insert(uid);
            inode
        };
        let inodes = sockets.map(inode).collect();
        Sought { users, ..Sought::new(inodes) }
    }

    /// 0 is no socket's.
    pub fn new(mut inodes: Vec<u64>) -> Sought {
        inodes.sort_unstable();
        inodes.dedup();
        if inodes.first() == Some(&0) {
            inodes.remove(0);
        }
        Sought { held: vec![false; inodes.len()], left: inodes.len(), next: 0, inodes, users: BTreeSet::new() }
    }

    /// Sorted.
    pub fn inodes(&self) -> &[u64] {
        &self.inodes
    }

    /// How many have not been met.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Whether `inode` is looked for, which has been met now.
    pub fn take(&mut self, inode: u64) -> bool {
        let Some(at) = self.place(inode) else { return false };
        self.next = at + 1;
        self.left -= usize::from(!std::mem::replace(&mut self.held[at], true));
        true
    }

    pub fn has(&self, inode: u64) -> bool {
        self.place(inode).is_some()
    }

    /// Those that have not been met.
    pub fn unmet(&self) -> impl Iterator<Item = u64> {
        self.inodes.iter().zip(&self.held).filter(|(_, held)| !**held).map(|(inode, _)| *inode)
    }

    fn place(&self, inode: u64) -> Option<usize> {
        match self.inodes.get(self.next) {
            Some(next) if *next == inode => Some(self.next),
            _ => self.inodes.binary_search(&inode).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_met_once_in_whatever_order() {
        let mut sought = Sought::new(vec![7, 0, 5, 9, 7]);
        assert_eq!((sought.inodes(), sought.left()), (&[5, 7, 9][..], 3));
        assert!(!sought.take(0) && !sought.take(6) && sought.has(9));
        assert!(sought.take(5) && sought.take(7) && sought.take(7) && sought.take(5));
        assert_eq!((sought.left(), sought.unmet().collect::<Vec<_>>()), (1, vec![9]));
    }
}
