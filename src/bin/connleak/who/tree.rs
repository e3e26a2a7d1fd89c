//! Rows below the processes that started theirs: a pooler and its workers.

use super::row::Row;
use connleak::kernel::proc_stat::Stat;
use connleak::kernel::world::World;
use std::collections::{BTreeMap, BTreeSet};

/// A line of the table: a row, or an ancestor that has no sockets itself.
pub struct Branch {
    /// The lines that lead to it: `│  ├─ `.
    pub prefix: String,
    /// What its own lines are indented with.
    pub below: String,
    pub label: String,
    /// Index of its row.
    pub row: Option<usize>,
}

/// Each row by itself.
pub fn flat(rows: &[Row]) -> Vec<Branch> {
    let branch = |(index, row): (usize, &Row)| Branch {
        prefix: String::new(),
        below: String::new(),
        label: row.label.clone(),
        row: Some(index),
    };
    rows.iter().enumerate().map(branch).collect()
}

/// A process of the tree. Process 1 started everything and explains nothing: it is left out.
struct Node {
    label: String,
    parent: u32,
}

pub fn arrange(rows: &[Row], world: &World) -> Vec<Branch> {
    let mut nodes: BTreeMap<u32, Node> = BTreeMap::new();
    let mut rows_of: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        // What has no process stands at the root.
        let pid = row.process.as_ref().map_or(0, |process| process.pid);
        rows_of.entry(pid).or_default().push(index);
        if let Some(process) = &row.process {
            nodes.insert(pid, Node { label: row.label.clone(), parent: process.parent });
        }
    }
    for row in rows {
        let mut pid = row.process.as_ref().map_or(0, |process| process.parent);
        while pid > 1 && !nodes.contains_key(&pid) {
            let Some(node) = read(pid, world) else { break };
            let parent = node.parent;
            nodes.insert(pid, node);
            pid = parent;
        }
    }
    let forest = Forest::new(nodes, rows_of);
    let mut branches = Vec::new();
    let mut roots: Vec<u32> = forest.children(0).map(|pid| forest.root(pid)).collect();
    roots.sort_by_key(|pid| forest.worst(*pid));
    roots.iter().for_each(|pid| forest.grow(*pid, "", "", &mut branches));
    let others = forest.rows_of.get(&0).into_iter().flatten();
    branches.extend(others.map(|index| Branch {
        prefix: String::new(),
        below: String::new(),
        label: rows[*index].label.clone(),
        row: Some(*index),
    }));
    branches
}

/// Name and parent of a process without sockets here.
fn read(pid: u32, world: &World) -> Option<Node> {
    let line = std::fs::read(world.proc_root.join(format!("{pid}/stat"))).ok()?;
    let stat = Stat::parse(&line)?;
    Some(Node { label: format!("{}[{pid}]", String::from_utf8_lossy(stat.comm)), parent: stat.parent })
}

struct Forest {
    nodes: BTreeMap<u32, Node>,
    rows_of: BTreeMap<u32, Vec<usize>>,
    children: BTreeMap<u32, BTreeSet<u32>>,
}

impl Forest {
    fn new(nodes: BTreeMap<u32, Node>, rows_of: BTreeMap<u32, Vec<usize>>) -> Forest {
        let mut children: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (pid, node) in &nodes {
            // A parent that can't be read is none.
            let parent = Some(node.parent).filter(|parent| nodes.contains_key(parent)).unwrap_or(0);
            children.entry(parent).or_default().insert(*pid);
        }
        Forest { nodes, rows_of, children }
    }

    /// Where the tree begins to tell: a lone ancestor of a lone ancestor doesn't.
    fn root(&self, mut pid: u32) -> u32 {
        let is_row = |pid: &u32| self.rows_of.contains_key(pid);
        while !is_row(&pid) {
            let mut children = self.children(pid);
            match (children.next(), children.next()) {
                (Some(child), None) if !is_row(&child) => pid = child,
                _ => break,
            }
        }
        pid
    }

    fn children(&self, pid: u32) -> impl Iterator<Item = u32> {
        self.children.get(&pid).into_iter().flatten().copied()
    }

    /// The best place of any row in the subtree: rows are in their order already.
    fn worst(&self, pid: u32) -> usize {
        let own = self.rows_of.get(&pid).and_then(|rows| rows.first().copied());
        own.into_iter().chain(self.children(pid).map(|child| self.worst(child))).min().unwrap_or(usize::MAX)
    }

    fn grow(&self, pid: u32, prefix: &str, below: &str, branches: &mut Vec<Branch>) {
        let Some(node) = self.nodes.get(&pid) else { return };
        let mut children: Vec<u32> = self.children(pid).collect();
        children.sort_by_key(|child| self.worst(*child));
        let under = format!("{below}{}", if children.is_empty() { "   " } else { "│  " });
        let own: Vec<Option<usize>> = match self.rows_of.get(&pid) {
            Some(rows) => rows.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        for (nth, row) in own.into_iter().enumerate() {
            let prefix = if nth == 0 { prefix } else { below };
            branches.push(Branch { prefix: prefix.into(), below: under.clone(), label: node.label.clone(), row });
        }
        let last = children.len().saturating_sub(1);
        for (nth, child) in children.into_iter().enumerate() {
            let (turn, on) = if nth == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.grow(child, &format!("{below}{turn}"), &format!("{below}{on}"), branches);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_branch_comes_first() {
        let node = |label: &str, parent| Node { label: label.to_owned(), parent };
        let nodes = [
            (8, node("shell", 1)),
            (9, node("shell", 8)),
            (10, node("master", 9)),
            (11, node("a", 10)),
            (12, node("b", 10)),
            (13, node("b1", 12)),
        ];
        let rows_of = [(11, vec![1]), (12, vec![2, 3]), (13, vec![0])];
        let forest = Forest::new(nodes.into_iter().collect(), rows_of.into_iter().collect());
        assert_eq!((forest.root(8), forest.root(12)), (10, 12));
        let mut branches = Vec::new();
        forest.grow(10, "", "", &mut branches);
        let lines: Vec<_> =
            branches.iter().map(|branch| (format!("{}{}", branch.prefix, branch.label), branch.row)).collect();
        let expected =
            [("master", None), ("├─ b", Some(2)), ("│  b", Some(3)), ("│  └─ b1", Some(0)), ("└─ a", Some(1))];
        assert_eq!(lines, expected.map(|(line, row)| (line.to_owned(), row)));
    }
}
