//! Options that are one of a few words.

/// What `text` stands for among `words`.
///
/// # Errors
/// `unknown KIND 'text'; use a, b or c`.
pub fn choose<T: Copy>(kind: &str, text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| unknown(kind, text, words.iter().map(|(word, _)| *word).collect()))
}

fn unknown(kind: &str, text: &str, words: Vec<&str>) -> String {
    let choice = match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    };
    format!("unknown {kind} '{text}'; use {choice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_or_all_are_named() {
        let words = [("auto", 1), ("netlink", 2), ("proc", 3)];
        assert_eq!(choose("source", "netlink", &words), Ok(2));
        for bad in ["", "Auto", "auto ", "x"] {
            let expected = format!("unknown source '{bad}'; use auto, netlink or proc");
            assert_eq!(choose("source", bad, &words), Err(expected));
        }
        assert_eq!(choose("x", "c", &[("a", 0), ("b", 1)]).unwrap_err(), "unknown x 'c'; use a or b");
        assert_eq!(choose("x", "c", &[("a", 0)]).unwrap_err(), "unknown x 'c'; use a");
    }
}
