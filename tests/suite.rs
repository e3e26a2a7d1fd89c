//! What is told of the programs in several places is what the suite's one table says.

#[path = "support/suite.rs"]
mod suite;

use connleak::program::suite::{Program, SUITE};
use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

fn checks() -> impl Iterator<Item = &'static Program> {
    SUITE.iter().filter(|program| program.name.starts_with("check_"))
}

#[test]
fn every_program_is_built_packed_documented_and_tested() {
    let (cargo, names) = (read("Cargo.toml"), suite::programs().map(|(name, _)| name));
    assert_eq!(names.collect::<Vec<_>>(), SUITE.map(|program| program.name));
    for Program { name, .. } in SUITE {
        assert!(cargo.contains(&format!("[[bin]]\nname = \"{name}\"\n")), "{name} is not built");
        let packed = cargo.matches(&format!("\"target/release/{name}\"")).count();
        assert_eq!(packed, 2, "{name}: a line for the .deb, one for the .rpm");
        for page in [format!("man/{name}.1"), format!("completions/{name}.bash"), format!("completions/_{name}")] {
            assert!(!read(&page).is_empty(), "{page}");
        }
    }
    assert_eq!(cargo.matches("[[bin]]").count(), SUITE.len(), "a program that is not in the table");
}

#[test]
fn readme_asks_the_questions() {
    let readme = read("README.md");
    for Program { name, question, .. } in checks() {
        let row = format!("| `{name}` | {question} |");
        assert!(readme.contains(&row), "README has no row\n{row}");
    }
}

/// Packages that have a release build to look at say so; this is about the table.
#[test]
fn a_check_without_a_history_has_a_largest_size() {
    for Program { name, largest, .. } in checks() {
        let keeps_history = ["check_conn_growth", "check_conn_states"].contains(name);
        assert_eq!(largest.is_none(), keeps_history, "{name}");
    }
}
