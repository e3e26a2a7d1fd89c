//! Runs the steps of `action.yml` as GitHub's runner does: its shell, its files, expressions put into `env`.

use serde_yaml::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A job's runner, with what comes first in its search path.
pub struct Runner {
    pub dir: TempDir,
    action: Value,
    /// The value of an expression such as `inputs.port`.
    values: Vec<(String, String)>,
    path: String,
}

impl Runner {
    /// With the action's inputs, and expressions that begin with `github.`.
    pub fn new(values: &[(&str, &str)]) -> Runner {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("action.yml")).unwrap();
        let action: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(action["runs"]["using"], "composite");
        let mut all = Vec::new();
        for (name, input) in action["inputs"].as_mapping().unwrap() {
            all.push((format!("inputs.{}", name.as_str().unwrap()), input["default"].as_str().unwrap().to_owned()));
        }
        for (name, value) in values {
            all.retain(|(known, _)| known != name);
            all.push(((*name).to_owned(), (*value).to_owned()));
        }
        Runner { dir: TempDir::new().unwrap(), action, values: all, path: std::env::var("PATH").unwrap() }
    }

    /// What a step wrote to the file of a name: `GITHUB_OUTPUT`.
    pub fn written(&self, file: &str) -> String {
        fs::read_to_string(self.file(file)).unwrap_or_default()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a folder into the search path, as a step before may.
    pub fn install(&mut self, folder: &Path) {
        self.path = format!("{}:{}", folder.display(), self.path);
    }

    /// A step, to be run. What steps before wrote to `GITHUB_PATH` counts.
    pub fn step(&self, name: &str) -> Command {
        let steps = self.action["runs"]["steps"].as_sequence().unwrap();
        let step = steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no step {name}"));
        assert_eq!(step["shell"], "bash");
        let script = self.file("step.sh");
        fs::write(&script, step["run"].as_str().unwrap()).unwrap();
        let mut command = Command::new("bash");
        // By GitHub's reference of `shell: bash`.
        command.args(["--noprofile", "--norc", "-eo", "pipefail"]).arg(&script).current_dir(self.dir.path());
        for (key, value) in step["env"].as_mapping().unwrap() {
            command.env(key.as_str().unwrap(), self.filled(value.as_str().unwrap()));
        }
        for file in ["GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"] {
            command.env(file, self.file(file));
        }
        let path: String = self.written("GITHUB_PATH").lines().map(|folder| format!("{folder}:")).collect();
        command.env("RUNNER_TEMP", self.dir.path()).env("PATH", path + &self.path);
        command
    }

    /// With the values of its expressions.
    fn filled(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for (name, value) in &self.values {
            filled = filled.replace(&format!("${{{{ {name} }}}}"), value);
        }
        assert!(!filled.contains("${{"), "{filled}");
        filled
    }
}
