//! What the YAML crate complains of, in the words of this suite.

use crate::base::error::Error;
use std::path::Path;

/// One line with place, key and remedy; `see`: where the keys are described.
pub fn explained(error: &serde_yaml::Error, yaml: &str, origin: &Path, see: &str) -> Error {
    let text = error.to_string().replace('\n', " ");
    // The place is said once, in front.
    let text = in_plain_words(text.split(" at line ").next().unwrap_or(&text));
    let remedy = if yaml.trim().is_empty() {
        "the file is empty; "
    } else if text.ends_with(A_LIST) {
        ""
    } else if text.contains("invalid type: integer") || text.contains("invalid type: floating") {
        "quote ranges, give durations a unit; "
    } else {
        ""
    };
    let place =
        error.location().map_or(String::new(), |place| format!("line {} column {}: ", place.line(), place.column()));
    Error::content(origin, format!("{place}{text} ({remedy}{see})"))
}

const A_LIST: &str = "a list: [a, b]";

/// The YAML crate names what it expected by Rust's types.
fn in_plain_words(text: &str) -> String {
    let types = [
        ("u16", "a port, 1 to 65535"),
        ("u32", "a number, 0 or more"),
        ("u64", "a number, 0 or more"),
        ("f64", "a number"),
        ("a sequence", A_LIST),
        ("a map", "keys with values"),
    ];
    // A section, by the name that it has here.
    let text = match text.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected keys with values"),
        None => text.to_owned(),
    };
    let found = types.iter().find(|(rust, _)| text.ends_with(&format!("expected {rust}")));
    let text = found.map_or(text.clone(), |(rust, plain)| format!("{}{plain}", text.trim_end_matches(rust)));
    let names = [
        ("type: sequence,", "type: a list,"),
        ("type: map,", "type: keys with values,"),
        ("unit value", "nothing"),
        ("missing field `", "missing key `"),
        ("unknown field `", "unknown key `"),
        ("duplicate field `", "duplicate key `"),
    ];
    names.iter().fold(text, |text, (rust, plain)| text.replace(rust, plain))
}
