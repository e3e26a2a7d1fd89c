//! README and docs/*.md: short enough, their links and files are there, and their commands are understood.

#[path = "support/essence.rs"]
mod essence;
#[path = "support/suite.rs"]
mod suite;

use regex_lite::Regex;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Each page with its path, README first.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(ROOT);
    let mut paths: Vec<PathBuf> = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "md"));
    paths.sort();
    paths.insert(0, root.join("README.md"));
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The lines of indented and of fenced blocks, without their indents.
fn code(page: &str) -> impl Iterator<Item = &str> {
    let mut is_fenced = false;
    page.lines().filter_map(move |line| {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
            return None;
        }
        (is_fenced || line.starts_with("    ")).then(|| line.trim_start())
    })
}

/// Code between backticks in text and tables, which has its own `|` escaped.
fn spans(page: &str) -> Vec<String> {
    let span = Regex::new("`([^`\n]+)`").unwrap();
    span.captures_iter(page).map(|found| found[1].replace("\\|", "|")).collect()
}

/// Every call of a program of the suite: its words.
fn commands(page: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for line in code(page).map(str::to_owned).chain(spans(page)) {
        let line = line.trim_start_matches("$ ").trim_start_matches("run: ");
        for part in line.split(" | ").flat_map(|part| part.split(" && ")) {
            let mut words = words(part);
            // `cargo run ... --bin NAME -- ARGUMENTS`
            if words.first().is_some_and(|word| word == "cargo")
                && let Some(at) = words.iter().position(|word| word == "--bin")
            {
                let name = words.get(at + 1).cloned();
                words = name.into_iter().chain(words.into_iter().skip_while(|word| word != "--").skip(1)).collect();
            }
            let Some(name) = words.first().map(|word| word.rsplit('/').next().unwrap().to_owned()) else { continue };
            let has_options = words.iter().any(|word| word.starts_with('-'));
            if has_options && suite::programs().any(|(program, _)| program == name) {
                words[0] = name;
                commands.push(words);
            }
        }
    }
    commands
}

/// As a shell takes them: quotes, and a comment ends the line.
fn words(line: &str) -> Vec<String> {
    let word = Regex::new(r#"'[^']*'|"[^"]*"|[^\s'"]+|\s+"#).unwrap();
    let (mut words, mut open) = (Vec::new(), false);
    for found in word.find_iter(line).map(|found| found.as_str()) {
        if found.trim().is_empty() {
            open = false;
            continue;
        }
        if !open && (found.starts_with('#') || found == "...") {
            break;
        }
        let text = found.trim_matches(['\'', '"']);
        match words.last_mut() {
            Some(last) if open => *last += text,
            _ => words.push(text.to_owned()),
        }
        open = true;
    }
    words
}

/// What is wrong with a call, run where it can do no harm and doesn't last. That there is nothing to see here is
/// no complaint.
fn complaint(words: &[String], dir: &Path) -> Option<String> {
    let (_, path) = suite::programs().find(|(name, _)| *name == words[0])?;
    // The demo has a test of its own, and so has what never ends; a stop command is another's.
    if ["demo", "every"].contains(&words[1].as_str()) {
        return None;
    }
    let mut args: Vec<String> = words[1..].iter().take_while(|word| *word != "--").cloned().collect();
    args.retain(|word| word != "--open");
    for at in 1..args.len() {
        match args[at - 1].as_str() {
            "--for" => args[at] = "1s".to_owned(),
            "--wait" => args[at] = "100ms".to_owned(),
            "--output-file" | "--junit" | "-O" | "--csv" => args[at] = "written".to_owned(),
            _ => {}
        }
    }
    let output = Command::new(path)
        .args(&args)
        .current_dir(dir)
        .env("MP_STATE_PATH", dir)
        .env("HOME", dir)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let refused =
        Regex::new("see --help|see 'connleak [a-z]+ --help'|[Uu]nrecognized|unknown (option|command)|: bad ").unwrap();
    refused.is_match(&said).then(|| format!("{}: {said}", words.join(" ")))
}

#[test]
fn readme_is_a_page_and_begins_with_the_two_commands() {
    let (_, readme) = &pages()[0];
    let count = readme.split_whitespace().count();
    assert!(count < 1200, "README has {count} words");
    let first: Vec<_> = code(readme).take(2).collect();
    assert!(first[0].starts_with("cargo run --release --locked --bin check_closewait -- "), "{first:?}");
    assert_eq!(first[1], "tests/run");
    for (path, _) in pages().iter().skip(1) {
        let name = format!("docs/{}", path.file_name().unwrap().to_str().unwrap());
        assert!(readme.contains(&format!("({name})")), "README links to no {name}");
    }
}

/// As they are shown, a line folded to several.
#[test]
fn answers_that_pages_show_begin_with_what_matters() {
    let begins = Regex::new("^(CLOSEWAIT|CONN_[A-Z]+|ORPHANS_AFTER_STOP) [A-Z]+ - ").unwrap();
    let mut seen = 0;
    for (path, page) in pages() {
        let mut lines = page.lines().map(str::trim_start);
        while let Some(line) = lines.next() {
            if !begins.is_match(line) {
                continue;
            }
            let folded = lines.by_ref().take_while(|line| !line.is_empty());
            let answer = std::iter::once(line).chain(folded).collect::<Vec<_>>().join(" ");
            let text = answer.split(" |").next().unwrap();
            assert_eq!(essence::complaints(text), [""; 0], "{}: {text}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 8, "{seen}");
}

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut seen = 0;
    for (path, page) in pages() {
        for target in link.captures_iter(&page).map(|found| found[1].to_owned()) {
            if target.contains("://") {
                continue;
            }
            seen += 1;
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let file = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(file.exists(), "{}: {target}", path.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&file).unwrap().to_lowercase().replace(' ', "-");
                assert!(text.contains(&format!("#-{heading}\n")), "{}: no heading {target}", path.display());
            }
        }
    }
    assert!(seen > 20, "{seen} links");
}

#[test]
fn every_command_of_ours_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let mut all: Vec<Vec<String>> = pages().iter().flat_map(|(_, page)| commands(page)).collect();
    all.sort();
    all.dedup();
    assert!(all.len() > 40, "{all:?}");
    let wrong: Vec<String> = all.iter().filter_map(|words| complaint(words, dir.path())).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_with_a_mistake_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let page = "text `check_closewait -p http`\n\n    connleak who --sorted   # comment\n    x | connleak graph --form y\n\
                ```sh\ncargo run --bin check_conn_idle -- -p 80 --sied server\n```\n    check_closewait -p 80 -w ' 5'\n";
    let found = commands(page);
    assert_eq!(found.len(), 5, "{found:?}");
    for words in found {
        assert!(complaint(&words, dir.path()).is_some(), "{words:?}");
    }
}

/// Paths of this source that commands name; `packages.rs` looks for them in the packages.
#[test]
fn files_that_are_named_are_there() {
    let path = Regex::new(
        r"(?:^|[\s`(<])((?:contrib|packaging|benches|tests|findings|completions|man|thresholds)/[\w./*@-]+)",
    )
    .unwrap();
    for (page, text) in pages() {
        for named in path.captures_iter(&text).map(|found| found[1].trim_end_matches('.').to_owned()) {
            // A recipe's own name, to be filled in.
            let named = named.trim_end_matches("/NAME");
            let folder = named.split('*').next().unwrap();
            let folder = if named.contains('*') { folder.rsplit_once('/').unwrap().0 } else { folder };
            assert!(Path::new(ROOT).join(folder).exists(), "{}: {named}", page.display());
        }
    }
}

/// Each row of the table of faults has a test that shows it. `NAME.rs and the others`: those of its folder.
#[test]
fn every_test_that_security_names_is_there() {
    let page = fs::read_to_string(Path::new(ROOT).join("SECURITY.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .skip_while(|line| !line.starts_with("## Faults tried"))
        .filter(|line| line.starts_with("| ") && !line.starts_with("| --- ") && !line.starts_with("| fault "))
        .map(|line| line.trim_matches('|').split(" | ").collect())
        .collect();
    assert!(rows.len() > 40, "the table is not found: {} rows", rows.len());
    for row in rows {
        let [fault, _, tests] = row[..] else { panic!("not three cells: {row:?}") };
        let named = spans(tests);
        assert!(!named.is_empty(), "no test: {fault}");
        for test in named {
            let path = Path::new(ROOT).join("tests").join(test.trim_start_matches("tests/"));
            let has_test = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains("#[test]"));
            let is_folder = path.is_dir() && fs::read_dir(&path).unwrap().flatten().any(|file| has_test(&file.path()));
            // A program that is run outside of `cargo test`.
            let is_program = path.is_file() && path.extension().is_none();
            assert!(is_folder || is_program || has_test(&path), "{test}: no test there, of: {fault}");
        }
    }
}
