//! What listens here, which profile fits, and what no check watches yet.

mod export;
mod fit;
mod listening;
mod recorded;
mod services;
mod table;

use crate::host::with_host_options;
use crate::screen::{self, Screen};
use crate::subcommand::{Plain, guard};
use argh::{ArgsInfo, FromArgs};
use connleak::base::error::Result;
use connleak::base::word;
use connleak::kernel::world::World;
use listening::Listening;
use recorded::Recorded;
use services::Offered;
use std::path::PathBuf;
use std::str::FromStr;

with_host_options! {
    /// what listens here, whose it is, which profile fits, and what no check watches yet
    #[derive(FromArgs, ArgsInfo, Debug)]
    #[argh(subcommand, name = "discover")]
    pub struct Discover {
        /// output format: table, json, zabbix (low-level discovery), icinga (vars.connleak of a host) or nagios
        /// (services); default table
        #[argh(option, short = 'o', arg_name = "FORMAT")]
        output: Option<Format>,

        /// also what no profile fits
        #[argh(switch)]
        all: bool,

        /// where histories are, if not at the default place: what check_conn_growth has recorded is watched
        #[argh(option, arg_name = "DIR")]
        state_dir: Option<PathBuf>,

        /// show a dump recorded with 'ss -tanie -D FILE' instead of this machine
        #[argh(option, arg_name = "FILE")]
        replay: Option<PathBuf>,
    }
}

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    #[default]
    Table,
    Json,
    Zabbix,
    Icinga,
    Nagios,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let words = [
            ("table", Format::Table),
            ("json", Format::Json),
            ("zabbix", Format::Zabbix),
            ("icinga", Format::Icinga),
            ("nagios", Format::Nagios),
        ];
        word::choose("output", text, &words)
    }
}

/// Everything that is told.
struct Found {
    listening: Vec<Listening>,
    recorded: Recorded,
    /// What checks can be pointed at.
    offered: Vec<Offered>,
    /// What makes the list of listeners incomplete.
    missing: Vec<String>,
    /// What else is to be said of its limits.
    notes: Vec<String>,
    /// Whether each listener's process is known.
    has_owners: bool,
}

impl Plain for Discover {
    fn run(self) -> std::result::Result<(), String> {
        let mut world = self.world();
        world.replay.clone_from(&self.replay);
        guard(&world.deadline);
        let found = self.look(&world).map_err(|why| why.to_string())?;
        let format = self.output.unwrap_or_default();
        if matches!(format, Format::Table | Format::Json) {
            let screen = Screen::of_stdout();
            let is_table = format == Format::Table;
            return screen::print(&if is_table {
                table::render(&found, self.all, &screen)
            } else {
                export::json(&found)
            });
        }
        // Whoever reads it takes what is missing for gone.
        if !found.missing.is_empty() {
            return Err(format!("incomplete, so nothing is printed: {}", found.missing.join("; ")));
        }
        let (text, left_out) = match format {
            Format::Zabbix => export::zabbix(&found),
            Format::Icinga => export::icinga(&found),
            _ => export::nagios(&found),
        };
        // Zabbix' agent takes standard error for a part of the value.
        let notes = found.notes.iter().chain(&left_out).filter(|_| format != Format::Zabbix);
        notes.for_each(|note| eprintln!("connleak: note: {}", screen::visible(note)));
        screen::print(&text)
    }
}

impl Discover {
    fn look(&self, world: &World) -> Result<Found> {
        let (mut listening, mut missing, mut notes) = listening::look(world)?;
        let has_owners = notes.is_empty();
        notes.extend(add_profiles(&mut listening, world));
        let recorded = Recorded::read(self.state_dir.as_deref(), world);
        notes.extend(recorded.unread.clone());
        let offered = services::offered(&listening, &recorded, self.all, world);
        missing.dedup();
        Ok(Found { listening, recorded, offered, missing, notes, has_owners })
    }
}

/// Fills in what fits; what of the profiles can't be read, once.
fn add_profiles(listening: &mut [Listening], world: &World) -> Vec<String> {
    let mut unread: Vec<String> = Vec::new();
    for one in listening {
        let command = one.process.as_ref().map(|process| process.command.as_str());
        match fit::of(one.port(), one.path(), command, world) {
            Ok(fit) => one.fit = fit,
            Err(why) => {
                let why = format!("profiles: {why}");
                if !unread.contains(&why) {
                    unread.push(why);
                }
            }
        }
    }
    unread
}
