//! Ours beside an earlier build of ours, in the cases where either looks at much.

use crate::contest::{ANY, CALM, Contestant};
use crate::scene::PORT;
use crate::table::Row;
use std::path::Path;

pub const ROWS: &str = "90000 rows of one port, 100000 sockets";
pub const WAITING: &str = "1000 sockets left among 100000, 30 s of waiting";
/// A service whose connections are all used, on a host that has nothing else; and how many they are.
pub const HEALTHY_PATHS: [(&str, u32); 2] =
    [("healthy path, 1000 sockets", 500), ("healthy path, 100000 sockets", 50_000)];
/// What a table puts before the earlier build's name.
const BEFORE: &str = "before: ";

/// All of `contestants`, and each of ours again as it was in the earlier build's `folder`, right after it. `states`: as in
/// [`Contestant::in_folder`].
pub fn paired(contestants: Vec<Contestant>, bin: &Path, folder: &Path, states: [&Path; 2]) -> Vec<Contestant> {
    let pair = |contestant: Contestant| {
        let before = contestant.in_folder(bin, folder, states, BEFORE);
        std::iter::once(contestant).chain(before)
    };
    contestants.into_iter().flat_map(pair).collect()
}

/// Those that are told of most of the table.
pub fn of_rows(bin: &Path, state: &Path) -> Vec<Contestant> {
    let ours = |name: &str, args: &str| {
        let (program, args) = (bin.join(name), format!("-p{PORT} -t60 {args}"));
        Contestant::of(name, &program, &args.split_whitespace().collect::<Vec<_>>()).ending(ANY)
    };
    let who = bin.join("connleak");
    let (first, growth) = (state.join("first"), bin.join("check_conn_growth"));
    let growth = growth.to_string_lossy().into_owned();
    let anew =
        format!("rm -rf {0}; mkdir {0}; exec \"$0\" -p{PORT} -t60 --limit 1000000 --state-dir {0}", first.display());
    vec![
        Contestant::of("hello world", &bin.join("examples/hello"), &[]),
        Contestant::of("kernel's empty walk", &bin.join("examples/empty_walk"), &[]),
        ours("check_closewait", CALM),
        ours("check_conn_states", "-w 100000000 -c 100000000"),
        ours("check_conn_tenants", "--key user"),
        Contestant::of("connleak who", &who, &["who", &format!("-p{PORT}"), "-t60"]),
        Contestant::command("check_conn_growth, first run", &["sh", "-c", &anew, &growth]).ending(ANY),
        ours("check_conn_growth", &format!("--limit 1000000 --state-dir {}", state.display())),
        Contestant::command("ss port", &["ss", "-Htan", &format!("( sport = :{PORT} or dport = :{PORT} )")]),
        Contestant::command("ss -Htanp", &["ss", "-Htanp"]),
    ]
}

/// Counting and ages, nothing else.
pub fn of_healthy_path(bin: &Path) -> Vec<Contestant> {
    let ours = |side: &str| {
        let args = format!("-p{PORT} -t60 --side {side} {CALM}");
        let check = bin.join("check_closewait");
        Contestant::of(&format!("check_closewait --side {side}"), &check, &args.split_whitespace().collect::<Vec<_>>())
    };
    let mut contestants = Contestant::starters(bin);
    contestants.extend(["both", "server"].map(ours));
    contestants
}

/// The check that waits for what never goes.
pub fn of_waiting(bin: &Path) -> Vec<Contestant> {
    let check = bin.join("check_orphans_after_stop");
    let args = [&format!("-p{PORT}"), "--side=server", "--wait=30s", "-t60"];
    vec![Contestant::of("check_orphans_after_stop", &check, &args).ending(2)]
}

/// At most so much of the CPU of 71bb07a, and MiB.
const TARGETS: [(&str, &str, f64, Option<f64>); 6] = [
    (ROWS, "check_conn_states", 0.85, Some(6.0)),
    (ROWS, "check_conn_tenants", 0.4, Some(15.0)),
    (ROWS, "connleak who", 0.4, Some(15.0)),
    (ROWS, "check_conn_growth, first run", 0.4, None),
    (crate::USED_NAMESPACES, "ours --netns all", 0.6, None),
    (WAITING, "check_orphans_after_stop", 0.05, None),
];

/// What the earlier build took, the ratio to it, and what it is held to.
pub fn ratios(rows: &[Row]) -> String {
    let mut text = "\n### Ratio to the earlier build\n| case | what | CPU | peak MiB | target |\n\
        | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for before in rows {
        let Some(name) = before.name.strip_prefix(BEFORE) else { continue };
        let Some(now) = rows.iter().find(|row| row.case == before.case && row.name == name) else { continue };
        let ratio = now.median.cpu / before.median.cpu;
        let peaks = format!("{:.1}, before {:.1}", now.median.peak, before.median.peak);
        let target = TARGETS.iter().find(|(case, what, ..)| *case == now.case && *what == name);
        let target = target.map_or_else(String::new, |(_, _, cpu, peak)| {
            let is_met = ratio <= *cpu && peak.is_none_or(|peak| now.median.peak <= peak);
            let peak = peak.map_or_else(String::new, |peak| format!(", {peak} MiB"));
            format!("{cpu}{peak}: {}", if is_met { "met" } else { "**missed**" })
        });
        text += &format!("| {} | {name} | {ratio:.2} | {peaks} | {target} |\n", now.case);
    }
    text
}
