//! Which release the running kernel is, for what no file of it tells.

use rustix::system::uname;

/// Whether it is this one or a later one. What can't be told is an old one.
pub fn is_at_least(wanted: (u32, u32)) -> bool {
    parse(uname().release().to_bytes()).is_some_and(|running| running >= wanted)
}

/// The first two numbers of `6.1.0-49-amd64` or `7.0-rc1`.
fn parse(release: &[u8]) -> Option<(u32, u32)> {
    let mut numbers = str::from_utf8(release).ok()?.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (text, expected) in [("6.1.0-49-amd64", (6, 1)), ("7.0-rc1", (7, 0)), ("6.18.44-fc", (6, 18))] {
            assert_eq!(parse(text.as_bytes()), Some(expected), "{text}");
        }
        assert!(parse(b"6.6").unwrap() < parse(b"6.18").unwrap());
        for bad in [&b""[..], b"6", b"linux", b"6.x", b"\xff.1"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
