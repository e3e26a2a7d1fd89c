//! What a socket is bound to, as far as it tells a client's end from what a listener accepted.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    None,
    /// An abstract name that the kernel gave, by its digits: a client with SO_PASSCRED has one from its connect(2) on, as
    /// sd-bus' have. What a listener accepts has its listener's.
    Given([u8; 5]),
    Chosen,
}

impl Name {
    /// unix(7): an abstract name of five bytes from the set 0-9 and a-f.
    pub fn of(name: &[u8]) -> Name {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match *name {
            [] => Name::None,
            [0, a, b, c, d, e] if name[1..].iter().all(is_digit) => Name::Given([a, b, c, d, e]),
            _ => Name::Chosen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_name_is_five_hex_digits_behind_a_zero() {
        assert_eq!(
            [Name::of(b""), Name::of(b"\x0000a1f"), Name::of(b"\0fffff")],
            [Name::None, Name::Given(*b"00a1f"), Name::Given(*b"fffff")]
        );
        for chosen in [&b"/run/x"[..], b"00a1f", b"\x0000a1", b"\x0000a1f0", b"\x0000A1F", b"\x00+0a1f"] {
            assert!(Name::of(chosen) == Name::Chosen, "{chosen:?}");
        }
    }
}
