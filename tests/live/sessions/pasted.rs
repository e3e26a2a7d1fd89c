//! What `connleak sessions --how` prints, run as an operator would paste it.

use crate::companion::run::{any, connleak};
use crate::lab::run::{CONNLEAK, Outcome, PATIENCE, Started, poll, run};
use serde_json::Value;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

/// A service's list that --how names.
pub struct Recipe {
    /// With the version that it was shown with.
    pub title: String,
    pub right: String,
    pub command: String,
}

/// The first of a port's recipes, or a later one.
pub fn recipe(port: u16, nth: usize) -> Recipe {
    recipe_of(&["-p", &port.to_string()], nth)
}

/// The one of a service by its UNIX socket.
pub fn recipe_by_socket(profile: &str, path: &str) -> Recipe {
    recipe_of(&["-P", profile, "--unix", path], 0)
}

fn recipe_of(choice: &[&str], nth: usize) -> Recipe {
    let text = connleak(&[&["sessions", "--how"], choice].concat());
    let lines = |begin: &'static str| text.lines().filter_map(move |line| line.strip_prefix(begin)).map(str::to_owned);
    let titles = text.lines().zip(text.lines().skip(1)).filter(|(_, next)| next.starts_with("# right: "));
    let title = titles.map(|(title, _)| title.to_owned()).nth(nth).expect("a title");
    let commands = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned);
    let (right, command) = lines("# right: ").zip(commands).nth(nth).expect("a recipe");
    Recipe { title, right, command }
}

impl Recipe {
    /// What is shown here is shown with the version that the recipe names, and no other.
    pub fn assert_version(&self, program: &str) {
        let told = Command::new(program).arg("--version").output().unwrap();
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let named =
            self.title.split([' ', ':', ',']).find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
        let named = named.unwrap_or_else(|| panic!("no version in {}", self.title));
        let is_it = told.split([' ', '=']).any(|word| word == named || word.starts_with(&format!("{named}.")));
        assert!(is_it, "{} was not shown with {told}", self.title);
    }

    /// With more options of ours at the command's end.
    pub fn run(&self, more: &str) -> Outcome {
        let programs = Path::new(CONNLEAK).parent().unwrap().display();
        let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
        let line = format!("set -o pipefail; {} {more}", self.command);
        // The client's own files are another's.
        let mut shell = Command::new("bash");
        shell.args(["-c", &line]).env("PATH", path).env("HOME", "/nonexistent").env_remove("COLUMNS");
        run(&mut shell)
    }

    pub fn json(&self) -> Value {
        let outcome = self.run("-ojson");
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// The table that it ends with.
    pub fn table(&self) -> String {
        let outcome = self.run("");
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
        outcome.stdout
    }
}

/// `connleak sessions` with this list in a file.
pub fn listed(args: &[&str], list: &str) -> Outcome {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(list.as_bytes()).unwrap();
    any(&[&["sessions"], args, &[file.path().to_str().unwrap()]].concat())
}

/// The rows that are so.
pub fn rows<'a>(found: &'a Value, is_one: &dyn Fn(&Value) -> bool) -> Vec<&'a Value> {
    found["rows"].as_array().unwrap().iter().filter(|row| is_one(row)).collect()
}

/// An application that does what it is told, a line each, and answers each.
pub struct Application {
    process: Started,
    input: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Application {
    /// Says `ready` first.
    pub fn start(python: &Path, source: &str) -> Application {
        let mut command = Command::new(python);
        command.args(["-c", source]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Started(command.spawn().unwrap());
        let input = process.0.stdin.take().unwrap();
        let answers = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let mut application = Application { process, input, answers };
        application.expect("ready");
        application
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub fn name(&self) -> String {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", self.pid())).unwrap();
        format!("{}[{}]", name.trim(), self.pid())
    }

    pub fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
        self.expect("done");
    }

    fn expect(&mut self, word: &str) {
        assert_eq!(self.answers.next().unwrap().unwrap(), word);
    }
}

/// A server's own client with these words, again and again until it ends well.
pub fn until_it_works(program: &str, args: &[&str]) {
    let works = || {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    assert!(poll(PATIENCE, works), "{program} {args:?}");
}
