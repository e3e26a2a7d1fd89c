//! Our cost beside what an operator would run instead, on the same sockets in the same minutes.
//!
//! Without `--case` it runs itself for each case in namespaces of its own, so that no case sees
//! sockets or processes of another, and prints the tables. `benches/run` builds what it needs.
//!
//! ```text
//! side_by_side [--smoke] [--large] [--rounds N] [--only CASE] [--against FOLDER]
//! side_by_side --case CASE --rounds N     in a namespace already: one line for each contestant
//! side_by_side --case CASE --hold         the same sockets for a profiler
//! ```

mod against;
mod contest;
mod past;
mod scene;
mod sessions;
mod table;

use against::{HEALTHY_PATHS, ROWS, WAITING};
use contest::{Contestant, Cost};
use scene::Scene;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use table::Row;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const MANY_PROCESSES: &str = "300 processes with 27000 descriptors, each of another user";
const ONE_USER: &str = "300 processes with 27000 descriptors, all of one user";
const ONE_PROCESS: &str = "one process with 19000 sockets";
const NAMESPACES: &str = "200 network namespaces, 20 with sockets, 10000 sockets";
const USED_NAMESPACES: &str = "200 network namespaces, all with sockets, 10000 sockets";
const UNIX: &str = "20000 UNIX sockets, 2000 of them the service's";
const START: &str = "process start";
const HEALTHY: &str = "a healthy service with 1000 connections by an MPTCP listener, and a socket outside the tables";
const MINUTE: &str = "one minute of a host, a healthy service of 1000 sockets among 10000";
const SESSIONS: &str = "10000 sessions of a service's list, both ends of each connection here";
const FEW_PROCESSES: &str = "20 processes";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1).cloned();
    let is_set = |name: &str| args.iter().any(|arg| arg == name);
    let smoke = is_set("--smoke");
    let rounds = value("--rounds").map_or(Ok(if smoke { 3 } else { 15 }), |rounds| rounds.parse())?;
    if let Some(case) = value("--case") {
        return measure(&case, rounds, is_set("--hold"), value("--against").as_deref().map(Path::new));
    }
    let mut cases = vec![
        START,
        "1000",
        "10000",
        "50000",
        "100000",
        MANY_PROCESSES,
        ONE_USER,
        ONE_PROCESS,
        HEALTHY,
        MINUTE,
        UNIX,
        NAMESPACES,
        USED_NAMESPACES,
        SESSIONS,
    ];
    if is_set("--large") {
        cases.insert(5, "500000");
    }
    if smoke {
        cases = vec!["1000", FEW_PROCESSES];
    }
    let folder = value("--against");
    if folder.is_some() {
        // What is only there to be compared with peers is left out.
        cases = vec![START, "1000", "10000", "50000", ROWS, ONE_PROCESS, MINUTE, USED_NAMESPACES, WAITING];
        cases.extend(HEALTHY_PATHS.map(|(case, _)| case));
    }
    let (mut rows, mut failed) = (Vec::new(), None);
    for case in cases.iter().filter(|case| value("--only").is_none_or(|only| case.contains(&only))) {
        eprintln!("measuring: {case}, {rounds} rounds");
        match apart(case, rounds, folder.as_deref()) {
            Ok(more) => rows.extend(more),
            // What the others took half an hour for is told all the same.
            Err(why) => {
                eprintln!("{why}");
                failed = Some(why);
            }
        }
    }
    println!("medians of {rounds} rounds, all programs in turn\n{}", table::costs(&rows));
    if folder.is_some() {
        println!("{}", against::ratios(&rows));
    }
    if !smoke {
        println!("{}", table::targets(&rows));
    }
    failed.map_or(Ok(()), Err)
}

/// Measures a case in network and process namespaces that end with it.
fn apart(case: &str, rounds: usize, folder: Option<&str>) -> Result<Vec<Row>> {
    let this = std::env::current_exe()?;
    let inside = "ip link set lo up && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", inside, "sh"])
        .arg(this)
        .args(["--case", case, "--rounds", &rounds.to_string()])
        .args(folder.into_iter().flat_map(|folder| ["--against", folder]))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{case}: {}", output.status).into());
    }
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, cpu, wall, peak] = fields[..] else { return Err(format!("not a result: {line}").into()) };
        let median = Cost { cpu: cpu.parse()?, wall: wall.parse()?, peak: peak.parse()? };
        Ok(Row { case: case.to_owned(), name: name.to_owned(), median })
    };
    String::from_utf8(output.stdout)?.lines().map(row).collect()
}

/// Each round runs every contestant once, so that a busy minute of the machine is everyone's.
fn measure(case: &str, rounds: usize, hold: bool, folder: Option<&Path>) -> Result<()> {
    let bin = directory()?;
    let program = tempfile::Builder::new().tempdir()?;
    let generator = public_copy(&bin.join("examples/peer"), program.path())?;
    let distinct = |number| 20_000 + number;
    let (state, state_before) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (mut scene, contestants) = match case {
        UNIX => {
            let path = program.path().join("x.sock").to_string_lossy().into_owned();
            (Scene::of_unix(&generator, &path)?, Contestant::of_unix(&bin, &path, state.path()))
        }
        START => (Scene::of_processes(&generator, 0, distinct)?, Contestant::starters(&bin)),
        MANY_PROCESSES => (Scene::of_processes(&generator, 300, distinct)?, Contestant::blamers(&bin)),
        ONE_USER => (Scene::of_processes(&generator, 300, |_| 0)?, Contestant::blamers(&bin)),
        ONE_PROCESS => (Scene::of_one_process(&generator, 19_000)?, Contestant::blamers(&bin)),
        FEW_PROCESSES => (Scene::of_processes(&generator, 20, distinct)?, Contestant::blamers(&bin)),
        HEALTHY => (Scene::of_healthy_service(&generator, 1_000)?, Contestant::seekers(&bin)),
        NAMESPACES => (Scene::of_namespaces(&generator, 200, 20, 10_000)?, Contestant::travellers(&bin)),
        SESSIONS => {
            let scene = Scene::of_sessions(&generator, sessions::SESSIONS)?;
            let contestants = sessions::contestants(&bin, program.path())?;
            (scene, contestants)
        }
        USED_NAMESPACES => (Scene::of_namespaces(&generator, 200, 200, 10_000)?, Contestant::travellers(&bin)),
        MINUTE => (Scene::of_rows(&generator, 500, 4_500)?, Contestant::of_a_minute(&bin, state.path())),
        ROWS => (Scene::of_rows(&generator, 45_000, 5_000)?, against::of_rows(&bin, state.path())),
        WAITING => (Scene::of_rows(&generator, 1_000, 49_000)?, against::of_waiting(&bin)),
        path if let Some((_, connections)) = HEALTHY_PATHS.iter().find(|(case, _)| *case == path) => {
            (Scene::of_rows(&generator, *connections, 0)?, against::of_healthy_path(&bin))
        }
        sockets => (Scene::of_sockets(&generator, sockets.parse()?)?, Contestant::counters(&bin)),
    };
    let mut contestants = contestants;
    if case.parse::<u32>().is_ok_and(|sockets| sockets <= 50_000) {
        past::record(state.path())?;
        if folder.is_some() {
            past::record(state_before.path())?;
        }
        contestants.push(Contestant::growth(&bin, state.path()));
    }
    if let Some(folder) = folder {
        contestants = against::paired(contestants, &bin, folder, [state.path(), state_before.path()]);
    }
    let (here, missing): (Vec<_>, Vec<_>) = contestants.into_iter().partition(Contestant::is_here);
    for absent in missing {
        eprintln!("not installed, so left out: {}", absent.name);
    }
    if hold {
        eprintln!("holding {case} for a profiler, until the end of input");
        std::io::stdin().read_to_end(&mut Vec::new())?;
        return Ok(());
    }
    agree(&here)?;
    let mut costs = vec![Vec::new(); here.len()];
    // Starting takes so little that only many runs tell.
    let rounds = match case {
        START => rounds * 20,
        // Half a minute each.
        WAITING => rounds.min(3),
        _ => rounds,
    };
    for _ in 0..rounds {
        scene.refresh()?;
        for (contestant, costs) in here.iter().zip(&mut costs) {
            costs.push(contestant.run()?);
        }
    }
    for (contestant, costs) in here.iter().zip(&costs) {
        let Cost { cpu, wall, peak } = table::median(costs);
        println!("{}\t{cpu}\t{wall}\t{peak}", contestant.name);
    }
    Ok(())
}

/// A quick answer that is wrong is worth nothing: ours and `ss` must count the same.
fn agree(contestants: &[Contestant]) -> Result<()> {
    let output = |name: &str| contestants.iter().find(|one| one.name == name).map(Contestant::output).transpose();
    let ours =
        output("ours --side server")?.or(output("ours, owners")?).or(output("ours --netns all")?).unwrap_or_default();
    let told = |label: &str| ours.split(label).nth(1).and_then(|rest| rest.split(';').next()?.parse::<usize>().ok());
    // Connections that were reset meanwhile are in no table that ss reads.
    let told = told(" close_wait=").map(|count| count.saturating_sub(told(" ghosts=").unwrap_or(0)));
    let theirs = output("ss state+port")?.or(output("ss -Htanp state+port")?).or(output("lsns, nsenter, ss")?);
    match theirs.map(|rows| rows.lines().count()) {
        Some(count) if Some(count) != told => Err(format!("ss counts {count} in CLOSE_WAIT, ours: {ours}").into()),
        _ => Ok(()),
    }
}

/// Where the suite's release binaries are.
fn directory() -> Result<PathBuf> {
    let examples = std::env::current_exe()?;
    Ok(examples.ancestors().nth(2).ok_or("no build directory")?.to_owned())
}

/// The load generator where every user may run it.
fn public_copy(program: &Path, dir: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir, open.clone())?;
    let copy = dir.join("peer");
    std::fs::copy(program, &copy)?;
    std::fs::set_permissions(&copy, open)?;
    Ok(copy)
}
