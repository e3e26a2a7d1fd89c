//! A recording: what a pair of server and client library was, and its sockets at each look.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// A socket as one look saw it: numbers by the letter of the format, and moments in milliseconds since the beginning.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub ends: String,
    pub values: BTreeMap<char, i64>,
}

impl Row {
    pub fn get(&self, letter: char) -> i64 {
        self.values.get(&letter).copied().unwrap_or(0)
    }

    /// Address and port here, address and port there.
    pub fn ends(&self) -> [&str; 4] {
        let mut parts = self.ends.split(' ');
        [(); 4].map(|()| parts.next().unwrap_or_default())
    }

    pub fn ends_of_peer(&self) -> [&str; 4] {
        let [here, port, there, port_there] = self.ends();
        [there, port_there, here, port]
    }
}

#[derive(Clone, Debug)]
pub struct Look {
    /// Milliseconds since the beginning.
    pub at: i64,
    /// By the socket's number.
    pub sockets: BTreeMap<u64, Row>,
}

#[derive(Debug, Default)]
pub struct Recording {
    pub name: String,
    /// `# key rest` of the head.
    pub head: BTreeMap<String, String>,
    /// The pids of `# R pid role`.
    pub roles: BTreeMap<i64, String>,
    /// Pids by the number that rows have for their holder.
    pub processes: BTreeMap<i64, i64>,
    pub looks: Vec<Look>,
    /// Moments in which the server was ended and begun.
    pub events: Vec<(i64, String)>,
}

impl Recording {
    pub fn read(path: &Path) -> Recording {
        let unpacked = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip");
        assert!(unpacked.status.success(), "{}: {unpacked:?}", path.display());
        let name = path.file_stem().unwrap().to_str().unwrap();
        let mut recording = Recording { name: name.to_owned(), ..Recording::default() };
        let mut now: Option<Look> = None;
        for (number, line) in String::from_utf8(unpacked.stdout).unwrap().lines().enumerate() {
            recording.line(&mut now, line).unwrap_or_else(|| panic!("{name}, line {}: {line:?}", number + 1));
        }
        recording.looks.extend(now);
        assert!(recording.looks.len() > 55, "{name}: {} looks", recording.looks.len());
        recording
    }

    fn line(&mut self, now: &mut Option<Look>, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "#" => self.head(rest)?,
            "X" => {}
            "E" => {
                let (at, what) = rest.split_once(' ')?;
                self.events.push((at.parse().ok()?, what.to_owned()));
            }
            "P" => {
                let (number, process) = rest.split_once(' ')?;
                self.processes.insert(number.parse().ok()?, process.split(' ').next()?.parse().ok()?);
            }
            "L" => {
                let sockets = now.as_ref().map_or_else(BTreeMap::new, |look| look.sockets.clone());
                self.looks.extend(now.replace(Look { at: rest.parse().ok()?, sockets }));
            }
            "-" => drop(now.as_mut()?.sockets.remove(&rest.parse().ok()?)?),
            "+" => {
                let (number, ends) = rest.split_once(' ')?;
                let row = Row { ends: ends.to_owned(), values: BTreeMap::new() };
                now.as_mut()?.sockets.insert(number.parse().ok()?, row);
            }
            number => {
                let row = now.as_mut()?.sockets.get_mut(&number.parse().ok()?)?;
                for cell in rest.split(' ') {
                    let letter = cell.chars().next()?;
                    match cell.get(1..)? {
                        "" => drop(row.values.remove(&letter)),
                        value => drop(row.values.insert(letter, value.parse().ok()?)),
                    }
                }
            }
        }
        Some(())
    }

    fn head(&mut self, text: &str) -> Option<()> {
        let (key, rest) = text.split_once(' ')?;
        match key {
            "R" => {
                let (pid, role) = rest.split_once(' ')?;
                self.roles.insert(pid.parse().ok()?, role.to_owned());
            }
            _ => drop(self.head.insert(key.to_owned(), rest.to_owned())),
        }
        Some(())
    }

    pub fn is_leaking(&self) -> bool {
        self.head["label"] == "leaking"
    }

    /// The check's options.
    pub fn options(&self) -> Vec<&str> {
        self.head["check"].split(' ').collect()
    }

    /// The value of one of them.
    pub fn option(&self, name: &str) -> Option<&str> {
        let options = self.options();
        let at = options.iter().position(|option| *option == name)?;
        options.get(at + 1).copied()
    }

    /// When the server was ended, where nothing serves then.
    pub fn down_since(&self, at: i64) -> Option<i64> {
        let is_change = |what: &str| !what.starts_with("reload") && what != "begin";
        let (then, what) = self.events.iter().rev().find(|(then, what)| *then <= at && is_change(what))?;
        (what != "begin done" && what != "restart done").then_some(*then)
    }

    /// The process that has the mistake.
    pub fn is_culprit(&self, pid: i64) -> bool {
        let who = self.head.get("culprit").map_or("client", String::as_str);
        // A server may be begun again, a client never is.
        match who {
            "client" => self.roles.get(&pid).is_some_and(|role| role == "client"),
            _ => self.roles.get(&pid).is_none_or(|role| role == "server"),
        }
    }
}
