//! Tenants' names as labels of performance data: `[a-z0-9_]`, one for each, the same in every run.

/// Without the digits that tell names apart.
const LONGEST: usize = 16;

/// A label for each name. One that is not plain already carries six digits of its hash, whoever else is
/// there: so a label never changes because a tenant came or went.
pub fn all<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for name in names {
        let label = one(name);
        // Somebody may be called like another's label.
        let taken = |label: &String| labels.contains(label);
        let free = (2..).map(|number| format!("{label}_{number}")).find(|label| !taken(label));
        labels.push(if taken(&label) { free.unwrap_or_default() } else { label });
    }
    labels
}

fn one(name: &str) -> String {
    let is_plain = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    if !name.is_empty()
        && name.len() <= LONGEST
        && name.chars().all(|character| is_plain(character) || character == '_')
    {
        return name.to_owned();
    }
    let lower = name.chars().map(|character| character.to_ascii_lowercase());
    let plain: String =
        lower.map(|character| if is_plain(character) { character } else { '_' }).take(LONGEST).collect();
    let hash = connleak::growth::pool::hashed(name.as_bytes()) >> 40;
    format!("{}_{hash:06x}", plain.trim_matches('_')).trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_names_stay_and_others_are_told_apart() {
        let labels = all(["acme", "a-b", "a.b", "A_b", "", "ä", "10.1.2.0/24", "acme", &"x".repeat(40)].into_iter());
        assert_eq!(labels[0], "acme");
        assert!(labels[1].starts_with("a_b_") && labels[2].starts_with("a_b_"), "{labels:?}");
        assert!(labels[6].starts_with("10_1_2_0_24_"), "{labels:?}");
        assert_eq!(labels[7], "acme_2");
        for (name, label) in [("a-b", 1), ("a.b", 2), ("A_b", 3), ("", 4), ("ä", 5)] {
            assert_eq!(all([name].into_iter())[0], labels[label], "{name} alone or not");
        }
    }

    #[test]
    fn whoever_takes_anothers_label_gets_a_new_one() {
        let taken = all(["a-b"].into_iter()).remove(0);
        let labels = all(["a-b", &taken].into_iter());
        assert_eq!(labels[0], taken);
        assert_ne!(labels[1], taken);
    }

    proptest! {
        #[test]
        fn every_name_has_its_own_plain_label(names in prop::collection::hash_set("\\PC{0,40}", 0..20)) {
            let labels = all(names.iter().map(String::as_str));
            let plain = |label: &String| !label.is_empty() && label.len() <= LONGEST + 9
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            prop_assert!(labels.iter().all(plain), "{:?}", labels);
            let distinct: std::collections::HashSet<_> = labels.iter().collect();
            prop_assert_eq!(distinct.len(), names.len());
        }
    }
}
