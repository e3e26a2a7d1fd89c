//! The recipes for CI, as docs/ci.md and the man page print them, run for real.

use crate::integrations::python::{prepare_python, python};
use crate::lab::Lab;
use crate::lab::run::{ORPHANS, Outcome, run};
use crate::orphans::client_pool::Redis;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The one fenced block of docs/ci.md in a language.
fn of_page(language: &str) -> String {
    let page = document("docs/ci.md");
    let opening = format!("```{language}\n");
    assert_eq!(page.matches(&opening).count(), 1, "{language}");
    page.split_once(&opening).unwrap().1.split_once("```\n").unwrap().0.to_owned()
}

/// The man page's examples that stand by themselves.
fn of_man_page() -> Vec<String> {
    let page = document("man/check_orphans_after_stop.1");
    let blocks = page.split(".nf\n.RS\n").skip(1);
    blocks.map(|block| block.split_once(".RE\n.fi\n").unwrap().0.replace("\\-", "-").replace("\\e", "\\")).collect()
}

#[test]
fn document_and_man_page_print_the_same() {
    let examples = of_man_page();
    for language in ["sh", "yaml", "python"] {
        let recipe = of_page(language);
        assert!(examples.contains(&recipe), "{recipe}\nis none of\n{}", examples.join("\n"));
    }
}

/// A CI job's directory: the check is installed, and `./stop-stack` stops Redis.
struct Job {
    redis: Redis,
    dir: TempDir,
}

impl Job {
    fn new(lab: &Lab) -> Option<Job> {
        let (redis, dir) = (Redis::start(lab)?, tempfile::tempdir().unwrap());
        let job = Job { redis, dir };
        job.put("stop-stack", &format!("#!/bin/sh\nkill {}\n", job.redis.pid()));
        fs::set_permissions(job.dir.path().join("stop-stack"), Permissions::from_mode(0o755)).unwrap();
        Some(job)
    }

    fn put(&self, name: &str, content: &str) {
        fs::write(self.dir.path().join(name), content).unwrap();
    }

    fn run(&self, program: &str, args: &[&str]) -> Outcome {
        let installed = Path::new(ORPHANS.0).parent().unwrap().display();
        let path = format!("{installed}:{}", std::env::var("PATH").unwrap());
        run(Command::new(program).args(args).current_dir(self.dir.path()).env("PATH", path))
    }
}

/// Runs a shell recipe around a clean stop and around one that a client survives; each writes its result.
fn try_in_shell(lab: &Lab, shell: &[&str], recipe: &str) {
    for is_leaking in [false, true] {
        let Some(job) = Job::new(lab) else { return };
        let mut client = lab.peer();
        client.say("connect c 127.0.0.1:6379 2");
        if !is_leaking {
            client.say("close c");
        }
        // Ten seconds are for a CI job.
        job.put("recipe", &format!("{}\necho went on\n", recipe.replace("--wait 10s", "--wait 1s")));
        let outcome = job.run(shell[0], &[&shell[1..], &["recipe"]].concat());
        assert_eq!(outcome.code, if is_leaking { 2 } else { 0 }, "{outcome:?}");
        assert_eq!(outcome.stdout.contains("went on"), !is_leaking, "{outcome:?}");
        assert_eq!(outcome.stdout.contains(&format!("held by peer[{}]", client.pid())), is_leaking, "{outcome:?}");
        assert!(job.dir.path().join("orphans.xml").exists());
    }
}

#[test]
fn the_shell_recipe_works() {
    Lab::test(|lab| try_in_shell(lab, &["sh"], &of_page("sh")));
}

/// GitHub runs a step's text by `bash -e`.
#[test]
fn the_workflow_step_parses_and_its_command_works() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let step = tempfile::NamedTempFile::new().unwrap();
        fs::write(step.path(), of_page("yaml")).unwrap();
        let reader = "import sys, yaml; [step] = yaml.safe_load(open(sys.argv[1])); assert step['name']; \
            assert set(step) == {'name', 'run'}; print(step['run'])";
        let read = run(Command::new(python).args(["-c", reader]).arg(step.path()));
        assert_eq!((read.code, read.stderr.as_str()), (0, ""));
        try_in_shell(lab, &["bash", "-e"], read.stdout.trim());
    });
}

/// The recipe's application: a pool that `close` disconnects, or forgets to.
const CONFTEST: &str = "
import os, pytest, redis

class App:
    def __init__(self):
        self.pool = redis.ConnectionPool(host='127.0.0.1', port=6379)
        self.redis = redis.Redis(connection_pool=self.pool)
        assert self.redis.ping()

    def close(self):
        if not os.environ.get('LEAKS'):
            self.pool.disconnect()

@pytest.fixture
def app():
    return App()
";

#[test]
fn the_pytest_recipe_works() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let Some(job) = Job::new(lab) else { return };
        job.put("conftest.py", CONFTEST);
        job.put("test_recipe.py", &of_page("python").replace("\"5s\"", "\"1s\""));
        let pytest = |leaks: &str| {
            let python = python.to_str().unwrap();
            let options = ["-m", "pytest", "-q", "-p", "no:cacheprovider"];
            job.run("env", &[&[leaks, "PYTHONDONTWRITEBYTECODE=1", python], &options[..]].concat())
        };
        let closed = pytest("LEAKS=");
        assert!(closed.code == 0 && closed.stdout.contains("1 passed"), "{closed:?}");
        let leaking = pytest("LEAKS=1");
        assert!(leaking.code == 1 && leaking.stdout.contains("1 failed"), "{leaking:?}");
        assert!(leaking.stdout.contains(", held by pytest[") || leaking.stdout.contains(", held by python"));
    });
}
