//! Part of the build script: `thresholds/` as Rust, so that no program parses YAML where it reads no file.
//!
//! Each profile becomes lines of a key's letter and a value; the letter's arm puts the value into the field of the key's
//! name. So the compiler knows each key and its type, and a test holds what is read to what the YAML says.

use serde_yaml::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// What a profile is found by, without reading it.
const FOUND_BY: [&str; 3] = ["service", "ports", "unix"];

/// The first key's letter.
const FIRST: u8 = b'!';

/// Writes `profiles.rs`.
pub fn write(thresholds: &Path, out: &Path) {
    let (mut keys, mut all) = (Vec::new(), BTreeMap::new());
    for entry in fs::read_dir(thresholds).expect("the profiles") {
        let path = entry.expect("a profile").path();
        let name = path.file_stem().expect("a name").to_str().expect("a plain name").to_owned();
        let yaml = fs::read_to_string(&path).expect("a profile's text");
        let profile: Value = serde_yaml::from_str(&yaml).expect(&name);
        let mut lines = String::new();
        add("", &profile, &mut keys, &mut lines);
        let [ports, unix] = ["ports", "unix"].map(|key| list(&profile[key]));
        all.insert(name, format!("ports: &{ports}, unix: &{unix}, values: {lines:?}"));
    }
    let mut rust = "pub(super) const EMBEDDED: &[Embedded] = &[\n".to_owned();
    for (name, fields) in all {
        writeln!(rust, "    Embedded {{ name: {name:?}, {fields} }},").expect("a string grows");
    }
    rust += "];\n\nfn set(profile: &mut Profile, key: u8, value: &str) -> Option<()> {\n    match key {\n";
    for (letter, (key, how)) in (FIRST..).zip(keys) {
        writeln!(rust, "        {letter} => {how}(&mut {}, value),", field(&key)).expect("a string grows");
    }
    rust += "        _ => None,\n    }\n}\n";
    fs::write(out.join("profiles.rs"), rust).expect("room for the profiles");
}

/// The values below a key, each in a line of its own.
fn add(key: &str, value: &Value, keys: &mut Vec<(String, &str)>, lines: &mut String) {
    if let Value::Mapping(map) = value {
        for (inner, value) in map {
            let inner = inner.as_str().expect("a key");
            if !FOUND_BY.contains(&inner) {
                add(&[key, inner].join(if key.is_empty() { "" } else { "." }), value, keys, lines);
            }
        }
        return;
    }
    let (how, values) = match value {
        Value::Sequence(values) => ("many", &values[..]),
        one => ("one", std::slice::from_ref(one)),
    };
    let known = keys.iter().position(|(known, _)| known == key);
    let at = known.unwrap_or_else(|| {
        keys.push((key.to_owned(), how));
        keys.len() - 1
    });
    let letter = FIRST + u8::try_from(at).expect("few keys");
    values.iter().for_each(|value| writeln!(lines, "{}{}", char::from(letter), text(value)).expect("a string grows"));
}

/// The field of a key. A state's is looked up by its name.
fn field(key: &str) -> String {
    match key.strip_prefix("states.").and_then(|rest| rest.split_once('.')) {
        Some((state, limit)) if state == state.to_uppercase() => {
            format!("of_state(&mut profile.states, {state:?})?.{limit}")
        }
        _ => format!("profile.{key}"),
    }
}

/// As Rust has it.
fn list(values: &Value) -> String {
    let one = |value: &Value| value.as_str().map_or_else(|| text(value), |text| format!("{text:?}"));
    format!("[{}]", values.as_sequence().into_iter().flatten().map(one).collect::<Vec<_>>().join(", "))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => panic!("{other:?} is no value of a profile"),
    }
}
