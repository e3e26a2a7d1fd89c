//! What the programs' `--help` says, read back: man pages and completions are held to it.

#![allow(dead_code, reason = "each test file uses a part")]

use std::process::{Command, Stdio};

/// The help text of a program, or of one of its subcommands.
pub fn help(binary: &str, subcommand: Option<&str>) -> String {
    let output = Command::new(binary).args(subcommand).arg("--help").stdin(Stdio::null()).output().unwrap();
    // A scheduler must not take a check's help for a verdict.
    let code = if binary.ends_with("connleak") { 0 } else { 3 };
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Options of a help text: the synopsis and the description of each.
pub fn options(help: &str) -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = Vec::new();
    for line in section(help, "Options") {
        match line.strip_prefix("          ") {
            Some(more) => {
                let (_, description) = options.last_mut().unwrap();
                description.push_str(if description.is_empty() { "" } else { " " });
                description.push_str(more);
            }
            None => options.push((line.trim().to_owned(), String::new())),
        }
    }
    assert!(!options.is_empty(), "{help}");
    options
}

/// The subcommands that a program's help lists, each with what it is for.
pub fn subcommands(help: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (name, about) = line.trim().split_once(' ').unwrap();
        (name.to_owned(), about.trim().to_owned())
    };
    section(help, "Commands").map(line).collect()
}

/// The lines of a section, which ends with an empty line.
fn section<'a>(help: &'a str, title: &str) -> impl Iterator<Item = &'a str> {
    let rest = help.split_once(&format!("\n{title}:\n")).map_or("", |(_, rest)| rest);
    rest.lines().take_while(|line| !line.is_empty())
}
