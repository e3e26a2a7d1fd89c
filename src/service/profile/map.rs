//! The file behind `--key map:FILE`: each tenant's addresses, users, units and paths.

use super::LARGEST_FILE;
use super::explained::explained;
use crate::base::error::{Error, Result};
use crate::base::read_limited;
use crate::kernel::select::Cidr;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// Some hosts have thousands of customers, at some ten words each.
const LARGEST_MAP: u64 = 32 * LARGEST_FILE;

/// Tenants in the file's order: the first that matches is meant.
#[derive(Debug, Default, PartialEq)]
pub struct TenantMap(pub Vec<(String, Marks)>);

/// What a tenant is known by; any one of them is enough.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    #[serde(default)]
    pub cidrs: Vec<Cidr>,
    /// Names, or uids.
    #[serde(default)]
    pub users: Vec<User>,
    /// As `--unit` names them.
    #[serde(default)]
    pub units: Vec<String>,
    /// Working directories and arguments, each with all below; `*` is any name or part of one.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// A user, by name or number.
#[derive(Debug, PartialEq)]
pub enum User {
    Uid(u32),
    Name(String),
}

// By hand, as serde's untagged enums bring 20 KiB into the binary.
impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct NameOrUid;
        impl Visitor<'_> for NameOrUid {
            type Value = User;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a user's name or uid")
            }

            fn visit_u64<E: serde::de::Error>(self, uid: u64) -> std::result::Result<User, E> {
                u32::try_from(uid).map(User::Uid).map_err(|_| E::custom(format!("{uid} is no uid")))
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> std::result::Result<User, E> {
                Ok(name.parse().map_or_else(|_| User::Name(name.to_owned()), User::Uid))
            }
        }
        deserializer.deserialize_any(NameOrUid)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for TenantMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = TenantMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tenants by name, each with cidrs, users, units or paths")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<TenantMap, A::Error> {
                let mut tenants = TenantMap::default();
                while let Some(tenant) = map.next_entry()? {
                    tenants.0.push(tenant);
                }
                Ok(tenants)
            }
        }
        deserializer.deserialize_map(Map)
    }
}

impl Marks {
    fn check(&self, name: &str) -> std::result::Result<(), String> {
        if name.trim().is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            return Err(format!("tenant '{}': use a name of 1 to 64 bytes", name.escape_debug()));
        }
        if *self == Marks::default() {
            return Err(format!("tenant '{name}': give it cidrs, users, units or paths"));
        }
        if let Some(bad) = self.paths.iter().find(|path| !path.starts_with('/')) {
            return Err(format!("tenant '{name}': paths: '{bad}' does not begin with /"));
        }
        if self.units.iter().any(String::is_empty) || self.users.iter().any(|user| *user == User::Name(String::new())) {
            return Err(format!("tenant '{name}': an empty user or unit"));
        }
        Ok(())
    }
}

impl TenantMap {
    pub fn from_file(path: &Path) -> Result<TenantMap> {
        parse(&read_limited::read(path, LARGEST_MAP)?, path)
    }
}

/// `origin` is named in errors.
pub fn parse(yaml: &str, origin: &Path) -> Result<TenantMap> {
    let read = serde_yaml::from_str::<TenantMap>(yaml);
    let map = read.map_err(|error| explained(&error, yaml, origin, "see 'Tenants by file' in the man page"))?;
    let mut names = HashMap::new();
    for (name, marks) in &map.0 {
        let times: &mut usize = names.entry(name.as_str()).or_default();
        let doubled = if *times > 0 { Err(format!("duplicate tenant '{name}'")) } else { Ok(()) };
        doubled.and_then(|()| marks.check(name)).map_err(|why| {
            let place = line_of(yaml, name, *times).map_or(String::new(), |line| format!("line {line}: "));
            Error::content(origin, format!("{place}{why} (see 'Tenants by file' in the man page)"))
        })?;
        *times += 1;
    }
    if map.0.is_empty() {
        return Err(Error::content(origin, "names no tenant (see 'Tenants by file' in the man page)"));
    }
    Ok(map)
}

/// Where a tenant's entry begins, after `before` others of that name: the YAML crate tells no places of
/// what it has read.
fn line_of(yaml: &str, name: &str, before: usize) -> Option<usize> {
    let is_entry = |line: &str| {
        let rest = line.trim_start_matches(['{', ' ', '\'', '"']).strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start_matches(['\'', '"', ' ']).starts_with(':'))
    };
    let mut entries = yaml.lines().enumerate().filter(|(_, line)| is_entry(line));
    entries.nth(before).map(|(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> std::result::Result<TenantMap, String> {
        parse(yaml, Path::new("m.yaml")).map_err(|error| error.to_string())
    }

    #[test]
    fn tenants_keep_their_order() {
        let map =
            read("b: {cidrs: [10.0.0.0/8, '::1'], users: [web, 1001]}\na: {units: [x.service], paths: ['/srv/*/a']}\n");
        let map = map.unwrap().0;
        assert_eq!(map.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(map[0].1.users, [User::Name("web".into()), User::Uid(1001)]);
    }

    #[test]
    fn slips_are_named_with_their_line() {
        let cases: &[(&str, &[&str])] = &[
            ("", &["m.yaml: ", "names no tenant"]),
            ("{}", &["names no tenant"]),
            ("[a]", &["tenants by name"]),
            ("a: {users: [x]}\na: {users: [y]}\n", &["line 2", "duplicate tenant 'a'"]),
            ("a:\n  users: [x]\n  nets: [y]\n", &["line 3", "nets", "cidrs"]),
            ("a:\n  users: [x]\n  users: [y]\n", &["line 2", "duplicate"]),
            ("b: {users: [x]}\na: {cidrs: [10.0.0.0/33]}", &["line 2", "'10.0.0.0/33'", "10.0.0.0/8"]),
            ("a: {users: [-1]}", &["line 1", "name or uid"]),
            (
                "b: {users: [x]}\na:\n  paths: [home/a]",
                &["line 2", "tenant 'a': paths: 'home/a' does not begin with /"],
            ),
            ("a: {}", &["tenant 'a': give it cidrs"]),
            ("a:", &["line 1"]),
            ("'': {users: [x]}", &["tenant ''", "1 to 64"]),
            ("a: {units: ['']}", &["empty user or unit"]),
        ];
        for (yaml, says) in cases {
            let error = read(yaml).unwrap_err();
            for part in *says {
                assert!(error.contains(part), "{yaml:?}: {error} lacks {part}");
            }
        }
    }
}
