//! What a service's history is kept under: what is looked at, on which host, in which network namespace.

/// Between the two parts.
const ON: &str = " on host ";

/// `name`: what is looked at; `scope`: as `crate::kernel::scope::key` gives it.
pub fn key(name: &str, scope: &str) -> String {
    format!("{name} on {scope}")
}

/// What is looked at, for a person.
pub fn name(key: &str) -> &str {
    key.rfind(ON).map_or(key, |at| &key[..at])
}

/// The key of `name` among those recorded: this scope's; else the only one there is, as where a history
/// was copied from another host.
pub fn find<'a>(keys: &'a [String], wanted: &str, scope: &str) -> Option<&'a str> {
    let exact = key(wanted, scope);
    let mut same = keys.iter().filter(|key| name(key) == wanted);
    let only = || same.next().filter(|_| same.next().is_none());
    keys.iter().find(|key| **key == exact).or_else(only).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_what_is_looked_at() {
        let here = "host 0123456789ab netns home";
        let keys = [key("x:1 both", here), key("x:1 both", "host f netns home"), key("y:2 both", "host f netns 7")];
        assert_eq!(name(&keys[0]), "x:1 both");
        assert_eq!(find(&keys, "x:1 both", here), Some(&*keys[0]));
        assert_eq!(find(&keys, "x:1 both", "host e netns home"), None, "which of the two?");
        assert_eq!(find(&keys, "y:2 both", here), Some(&*keys[2]), "copied from another host");
        assert_eq!(find(&["old".to_owned()], "old", here), Some("old"));
        assert_eq!(find(&keys, "z:3 both", here), None);
    }
}
