//! Runs one test of this binary again where nothing else of the host is: in namespaces of its own.

use std::env;
use std::io::{Read, Seek, Write};
use std::process::{Command, Stdio};

/// Tells the binary that it is the one within.
const INSIDE: &str = "CONNLEAK_TEST_INSIDE";

/// Process 1 there: a shell, which reaps whoever is left to it, and whose end is everyone's. The host's
/// named network namespaces are mounts: none is to be seen, nor the folder of the names.
/// Pids have as many digits as on a host, and all as many.
const FIRST: &str = "umount -a -t nsfs 2>/dev/null; mount -t tmpfs -o mode=755 run /run
    echo 1000 >/proc/sys/kernel/ns_last_pid; ip link set lo up || exit; echo entered; \"$@\"; exit $?";
const ENTERED: &str = "entered\n";

pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Runs the test that the harness knows by this name, in network, process, IPC and mount namespaces;
/// all in them ends with it, and with us. Hands on what it says, and its failure.
///
/// # Errors
/// Why there are none for it.
pub fn run_again(name: &str) -> Result<(), String> {
    let mut output = tempfile::tempfile().unwrap();
    // `--kill-child` ends them where unshare ends, setpriv's signal unshare where this thread does.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--net", "--ipc", "--pid", "--fork", "--kill-child"]);
    command.args(["--mount-proc", "sh", "-c", FIRST, "sh"]).arg(env::current_exe().unwrap());
    command.args(["--exact", name, "--include-ignored", "--nocapture", "--quiet", "--test-threads=1"]);
    command.env(INSIDE, "1").stdin(Stdio::null());
    command.stdout(output.try_clone().unwrap()).stderr(output.try_clone().unwrap());
    let status = command.status().map_err(|why| format!("setpriv: {why}"))?;
    let mut bytes = Vec::new();
    output.rewind().unwrap();
    output.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let Some((_, said)) = text.split_once(ENTERED) else {
        return Err(format!("namespaces: {status}: {}", text.trim().replace('\n', ", ")));
    };
    // None of a name that the harness doesn't know is no failure to it.
    let passed = status.success() && said.contains("\ntest result: ok. 1 passed;");
    // The harness's own words would be counted as those of the one outside.
    let of_harness = |line: &&str| ["", ".", "running 1 test"].contains(line) || line.starts_with("test result:");
    let (skips, rest): (Vec<&str>, Vec<&str>) =
        said.lines().filter(|line| !of_harness(line)).partition(|line| line.starts_with("SKIP "));
    // Not by println, which the harness keeps to itself where a test passes.
    skips.iter().for_each(|skip| std::io::stdout().write_all(format!("{skip}\n").as_bytes()).unwrap());
    let rest = rest.join("\n");
    assert!(passed, "{name} within its namespaces: {status}\n{rest}");
    if !rest.is_empty() {
        println!("{rest}");
    }
    Ok(())
}
