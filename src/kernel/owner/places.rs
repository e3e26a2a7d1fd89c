//! Where in a sorted list of holders an inode is: each socket is asked for several times, in the tables' order.

/// Inodes are given one after the other, so that equal ranges of them have about as many holders.
#[derive(Debug, Default)]
pub struct Places {
    first: u64,
    /// A range is of so many bits.
    shift: u32,
    /// Where each range begins; empty: not known.
    starts: Vec<u32>,
}

impl Places {
    /// `holders` are sorted by inode.
    pub fn of(holders: &[(u64, u32, u32)]) -> Places {
        let [(first, ..), .., (last, ..)] = holders else { return Places::default() };
        let mut shift = 0;
        while (last - first) >> shift > holders.len() as u64 {
            shift += 1;
        }
        let mut starts = Vec::with_capacity(((last - first) >> shift) as usize + 2);
        for (at, (inode, ..)) in holders.iter().enumerate() {
            let range = ((inode - first) >> shift) as usize;
            if starts.len() <= range {
                starts.resize(range + 1, at as u32);
            }
        }
        starts.push(holders.len() as u32);
        Places { first: *first, shift, starts }
    }

    /// The first place whose inode is not below.
    pub fn of_inode(&self, holders: &[(u64, u32, u32)], inode: u64) -> usize {
        let range = (inode.saturating_sub(self.first) >> self.shift) as usize;
        let (from, to) = match self.starts.get(range..) {
            Some([from, to, ..]) => (*from as usize, *to as usize),
            // Behind the last one, or nothing is known.
            _ => (0, holders.len()),
        };
        from + holders[from..to].partition_point(|(held, ..)| *held < inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_where_a_search_of_all_finds_it() {
        let dense = (100..200).collect::<Vec<u64>>();
        let sparse: Vec<u64> = (0..50).map(|at| 7 + at * at * 991).collect();
        let uneven: Vec<u64> = dense.iter().copied().chain([5_000_000, 5_000_000, u64::from(u32::MAX)]).collect();
        for inodes in [dense, sparse, uneven, vec![5], vec![5, 5], vec![]] {
            let holders: Vec<(u64, u32, u32)> = inodes.iter().map(|inode| (*inode, 0, 0)).collect();
            let places = Places::of(&holders);
            let asked = inodes.iter().flat_map(|inode| [inode - 1, *inode, inode + 1]).chain([0, u64::MAX]);
            for inode in asked {
                let by_search = holders.partition_point(|(held, ..)| *held < inode);
                assert_eq!(places.of_inode(&holders, inode), by_search, "{inode} of {inodes:?}");
            }
        }
    }
}
