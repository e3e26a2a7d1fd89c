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

/// What the earlier build took, and the ratio to it.
pub fn ratios(rows: &[Row]) -> String {
    let mut text =
        "\n### Ratio to the earlier build\n| case | what | CPU | peak MiB |\n| --- | --- | --- | --- |\n".to_owned();
    for before in rows {
        let Some(name) = before.name.strip_prefix(BEFORE) else { continue };
        let Some(now) = rows.iter().find(|row| row.case == before.case && row.name == name) else { continue };
        let ratio = now.median.cpu / before.median.cpu;
        let peaks = format!("{:.1}, before {:.1}", now.median.peak, before.median.peak);
        text += &format!("| {} | {name} | {ratio:.2} | {peaks} |\n", now.case);
    }
    text
}
