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

/// `did you mean --min-age? `, or nothing.
pub fn suggestion<'a>(dashes: &str, text: &str, words: impl Iterator<Item = &'a str> + Clone) -> String {
    nearest(text, words).map_or(String::new(), |meant| format!("did you mean {dashes}{meant}? "))
}

/// The one of `words` that was meant, should one be near: begun or ended so and no other, or mistyped by a letter in three, two at most.
fn nearest<'a>(text: &str, words: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let mut alike = words.clone().filter(|word| text.len() > 1 && (word.starts_with(text) || word.ends_with(text)));
    if let (Some(only), None) = (alike.next(), alike.next()) {
        return Some(only);
    }
    let most = (text.chars().count() / 3).min(2);
    let near = words.map(|word| (distance(text, word), word)).min_by_key(|(distance, _)| *distance)?;
    (1..=most).contains(&near.0).then_some(near.1)
}

/// How many letters to put in, to take away or to change (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], at + 1);
        for (other, column) in to.chars().zip(1..) {
            let changed = before + usize::from(other != letter);
            before = row[column];
            row[column] = changed.min(before + 1).min(row[column - 1] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_is_told_from_another() {
        let words = ["min-age", "ratio-warning", "ratio-critical", "warning", "port", "top"];
        for (text, meant) in [
            ("minage", Some("min-age")),
            ("mni-age", Some("min-age")),
            ("age", Some("min-age")),
            ("crit", None),
            ("critical", Some("ratio-critical")),
            ("ratio-warn", Some("ratio-warning")),
            ("prot", None),
            ("ports", Some("port")),
            ("por", Some("port")),
            ("ratio", None),
            ("x", None),
            ("", None),
            ("sockets", None),
        ] {
            assert_eq!(nearest(text, words.into_iter()), meant, "{text}");
        }
        assert_eq!((distance("", "abc"), distance("abc", ""), distance("kitten", "sitting")), (3, 3, 3));
    }

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
