//! User names and ids, from `/etc/passwd` only: a name service could hang, would make a static binary impossible, and
//! `getent` would be a child process, which no look starts.

use crate::base::error::{Error, Result};
use std::collections::HashMap;
use std::fs;

#[derive(Debug, Default)]
pub struct Users {
    names: HashMap<u32, String>,
}

impl Users {
    /// An unreadable file gives no names; numbers are then shown.
    pub fn read() -> Users {
        let bytes = fs::read("/etc/passwd").unwrap_or_default();
        Users::parse(&String::from_utf8_lossy(&bytes))
    }

    fn parse(passwd: &str) -> Users {
        let mut names = HashMap::new();
        for line in passwd.lines() {
            let mut fields = line.split(':');
            if let (Some(name), _, Some(Ok(uid))) = (fields.next(), fields.next(), fields.next().map(str::parse)) {
                // As getpwuid(3): the first of several names.
                names.entry(uid).or_insert_with(|| name.to_owned());
            }
        }
        Users { names }
    }

    pub fn name(&self, uid: u32) -> Option<&str> {
        self.names.get(&uid).map(String::as_str)
    }

    /// The uid that `--user` means: a number as it is, else a name.
    pub fn uid(&self, user: &str) -> Result<u32> {
        let named = || self.names.iter().find(|(_, name)| *name == user).map(|(uid, _)| *uid);
        user.parse()
            .ok()
            .or_else(named)
            .ok_or_else(|| Error::Usage(format!(
                    "unknown user '{user}': not in /etc/passwd; of a name service's users give the numeric uid, as id -u tells it"
                )))
    }
}

/// The uid that the kernel shows for all users that this user namespace doesn't map; `None`: it maps all.
pub fn unmapped() -> Option<u32> {
    const USUAL: u32 = 65_534;
    let maps_all = fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_all(&map));
    let overflow = || fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok();
    (!maps_all).then(|| overflow().unwrap_or(USUAL))
}

/// From lines as `0 0 4294967295`: first uid inside, outside, and how many.
fn maps_all(map: &str) -> bool {
    let numbers = |line: &str| line.split_whitespace().map(|number| number.parse::<u64>().ok()).collect::<Vec<_>>();
    map.lines().any(|line| matches!(numbers(line)[..], [Some(0), Some(_), Some(4_294_967_295)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_namespace_maps_some_users() {
        assert!(maps_all("         0          0 4294967295\n"));
        for partial in ["0 1000 1\n", "0 100000 65536\n", "0 0 1\n1 100000 65535\n", "1 1 4294967295", "", "x y z\n"] {
            assert!(!maps_all(partial), "{partial}");
        }
    }

    #[test]
    fn reads_passwd_lines_and_passes_over_others() {
        let users = Users::parse("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbad line\nweb:x:33\n+::::::\n");
        assert_eq!(users.name(0), Some("root"));
        assert_eq!(users.name(33), Some("web"));
        assert_eq!(users.name(1), None);
        assert_eq!(users.uid("web").unwrap(), 33);
        assert_eq!(users.uid("4711").unwrap(), 4711);
        assert!(users.uid("nobody2").unwrap_err().to_string().contains("'nobody2'"));
    }
}
