//! Medians of all rounds, as tables, and the targets they are held to.

use crate::contest::Cost;

/// The median costs of one contestant in one case.
pub struct Row {
    /// `100000`, or the name of an owners case.
    pub case: String,
    pub name: String,
    pub median: Cost,
}

pub fn median(costs: &[Cost]) -> Cost {
    let of = |value: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] }
    };
    Cost { cpu: of(|cost| cost.cpu), wall: of(|cost| cost.wall), peak: of(|cost| cost.peak) }
}

fn find(rows: &[Row], case: &str, name: &str) -> Option<Cost> {
    rows.iter().find(|row| row.case == case && row.name == name).map(|row| row.median)
}

/// A table for each case.
pub fn costs(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut case = "";
    for Row { case: of, name, median } in rows {
        if of != case {
            case = of;
            text +=
                &format!("\n### {}\n| what | CPU ms | wall ms | peak MiB |\n| --- | --- | --- | --- |\n", title(case));
        }
        let Cost { cpu, wall, peak } = median;
        text += &format!("| {name} | {cpu:.2} | {wall:.2} | {peak:.1} |\n");
    }
    text
}

fn title(case: &str) -> String {
    match case.parse::<u32>() {
        Ok(sockets) => format!("{sockets} sockets"),
        Err(_) => case.to_owned(),
    }
}

/// What of the table is measured how.
pub fn targets(rows: &[Row]) -> String {
    let mut text = "\n### Targets\n| case | target | reached | |\n| --- | --- | --- | --- |\n".to_owned();
    let mut line = |what: String, target: f64, reached: Option<f64>| {
        if let Some(reached) = reached {
            let met = if reached <= target { "met" } else { "**missed**" };
            text += &format!("| {what} | {target} | {reached:.3} | {met} |\n");
        }
    };
    let ratio = |case: &str, ours: &str, theirs: &str, of: fn(Cost) -> f64| {
        Some(of(find(rows, case, ours)?) / of(find(rows, case, theirs)?))
    };
    let cpu = |cost: Cost| cost.cpu;
    let server = "ours --side server";
    for case in ["100000", "500000"] {
        let at = title(case);
        line(format!("{server} / ss state+port, {at}"), 0.5, ratio(case, server, "ss state+port", cpu));
        line(format!("{server} / kernel's empty walk, {at}"), 1.3, ratio(case, server, "kernel's empty walk", cpu));
        line(format!("ours --side both / ss port, {at}"), 0.5, ratio(case, "ours --side both", "ss port", cpu));
        for theirs in ["grep, awk, sort, uniq", "procfs crate"] {
            line(format!("{server} / {theirs}, {at}"), 0.1, ratio(case, server, theirs, cpu));
        }
    }
    line(format!("{server} / ss state+port, 1000 sockets"), 0.5, ratio("1000", server, "ss state+port", cpu));
    for (case, target) in [("1000", 3.0), ("10000", 3.0), ("50000", 1.3)] {
        let ours = ratio(case, crate::contest::GROWTH, "ours --side both", cpu);
        line(format!("{} / check_closewait, {}", crate::contest::GROWTH, title(case)), target, ours);
    }
    for (case, theirs, target) in [
        (crate::MANY_PROCESSES, "ss -Htanp", 0.08),
        (crate::MANY_PROCESSES, "lsof", 0.03),
        (crate::ONE_USER, "ss -Htanp", 0.08),
        (crate::ONE_USER, "lsof", 0.03),
        (crate::ONE_PROCESS, "ss -Htanp", 0.25),
    ] {
        line(format!("ours, owners / {theirs}, {case}"), target, ratio(case, "ours, owners", theirs, cpu));
    }
    let ghosts = ratio(crate::HEALTHY, crate::contest::GHOSTS, crate::contest::NO_GHOSTS, cpu);
    line(format!("with ghosts / without, {}", crate::HEALTHY), 1.15, ghosts);
    let six = ratio(crate::MINUTE, crate::contest::SIX, "ss -Htanp", cpu);
    line(format!("{} / ss -Htanp, {}", crate::contest::SIX, crate::MINUTE), 0.5, six);
    for name in [server, "ours --side both, owners"] {
        line(format!("peak MiB of {name}, 500000 sockets"), 6.0, find(rows, "500000", name).map(|cost| cost.peak));
    }
    line(
        format!("ours --unix / ss -Hxa src PATH, {}", crate::UNIX),
        0.5,
        ratio(crate::UNIX, "ours --unix", "ss -Hxa src PATH", cpu),
    );
    let starts = ratio(crate::START, "ours --version", "hello world", |cost| cost.wall);
    line("ours --version / hello world, wall".to_owned(), 1.2, starts);
    for (fewer, more) in [("10000", "100000"), ("10000", "500000")] {
        let each = |case: &str| Some(find(rows, case, server)?.cpu / case.parse::<f64>().ok()?);
        let grows = each(more).and_then(|more| Some(more / each(fewer)?));
        line(format!("{server}, per socket, {} / {}", title(more), title(fewer)), 1.0, grows);
    }
    text
}
