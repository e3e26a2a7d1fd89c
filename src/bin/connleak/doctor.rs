//! What on this host would make a check's answer partial, and which thresholds are in force.

mod examine;
mod thresholds;

use crate::cells::json_line;
use crate::host::with_host_options;
use crate::screen::{self, Screen, visible, wrapped};
use crate::subcommand::{Plain, guard};
use argh::{ArgsInfo, FromArgs};
use connleak::base::word;
use connleak::kernel::world::World;
use examine::Finding;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::str::FromStr;
use thresholds::InForce;

with_host_options! {
    /// what here would make a check's answer partial: rights, namespaces, histories, profiles; thresholds in force
    #[derive(FromArgs, ArgsInfo, Debug)]
    #[argh(subcommand, name = "doctor")]
    pub struct Doctor {
        /// show the thresholds of this profile, a name or a file; default those of the services that listen here
        #[argh(option, short = 'P', arg_name = "NAME|FILE")]
        profile: Vec<String>,

        /// output format: table or json; default table
        #[argh(option, short = 'o', arg_name = "FORMAT")]
        output: Option<Format>,

        /// where histories are, if not at the default place
        #[argh(option, arg_name = "DIR")]
        state_dir: Option<PathBuf>,
    }
}

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    #[default]
    Table,
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        word::choose("output", text, &[("table", Format::Table), ("json", Format::Json)])
    }
}

impl Plain for Doctor {
    const STATUS: &'static str =
        "Exit status: 0; 1 where something would make answers partial; 3 with one line on standard error.\n";

    fn run(self) -> Result<(), String> {
        let world = self.world();
        guard(&world.deadline);
        let (in_force, unread) = thresholds::in_force(&self.profile, &world).map_err(|why| why.to_string())?;
        let mut findings = examine::all(&world, self.state_dir.as_deref());
        findings.push(thresholds::finding(&in_force, unread, &world));
        let is_partial = findings.iter().any(|finding| finding.is_partial);
        let screen = Screen::of_stdout();
        screen::print(&match self.output.unwrap_or_default() {
            Format::Table => table(&findings, &in_force, &screen),
            Format::Json => json_line(&object(&findings, &in_force, is_partial)),
        })?;
        if is_partial { std::process::exit(1) } else { Ok(()) }
    }
}

fn table(findings: &[Finding], in_force: &[InForce], screen: &Screen) -> String {
    let mut text = String::new();
    for finding in findings {
        let (sgr, word) = if finding.is_partial { ("33", "partial") } else { ("32", "ok") };
        let label = format!("{:<10} {}", finding.topic, screen.paint(sgr, &format!("{word:<7}")));
        text.push_str(&screen.folded(&label, &finding.says));
    }
    for service in in_force {
        text.push_str(&format!("\n{} ({})\n", visible(&service.service), visible(&service.origin)));
        let width = screen.width.unwrap_or(usize::MAX);
        let line = |(what, says): &(&str, String)| wrapped(&format!("{what:<18} {}", visible(says)), "  ", width);
        text.extend(service.lines.iter().map(line));
    }
    text
}

/// Keys are never removed.
fn object(findings: &[Finding], in_force: &[InForce], is_partial: bool) -> Value {
    let finding =
        |finding: &Finding| json!({"topic": finding.topic, "partial": finding.is_partial, "says": finding.says});
    let service = |service: &InForce| {
        let lines = service.lines.iter().map(|(what, says)| ((*what).to_owned(), json!(says)));
        json!({
            "profile": service.service,
            "origin": service.origin,
            "thresholds": Value::Object(lines.collect()),
        })
    };
    json!({
        "schema": 1,
        "command": "doctor",
        "partial": is_partial,
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
        "profiles": in_force.iter().map(service).collect::<Vec<_>>(),
    })
}
