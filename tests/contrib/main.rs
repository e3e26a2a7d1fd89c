//! What contrib/ says of the checks is what their argument tables say: compared, and with BLESS=1
//! rewritten. That the monitoring systems take the files is for tests/live to show.

#[path = "../support/options.rs"]
mod options;

mod director;
mod icinga;
mod lines;
mod written;
mod zabbix;

use options::CHECKS;
use std::fs;
use std::path::{Path, PathBuf};

type Make = fn() -> String;

/// Files made from the argument tables alone, and how each begins.
const GENERATED: [(&str, Make); 8] = [
    ("icinga2/connleak-commands.conf", icinga::commands),
    ("icinga2/connleak-director-basket.json", director::basket),
    ("nagios/connleak-commands.cfg", lines::nagios),
    ("nrpe/connleak.cfg", lines::nrpe),
    ("nrpe/connleak-arguments.cfg", lines::nrpe_arguments),
    ("sensu/connleak-checks.yml", lines::sensu),
    ("zabbix/connleak.conf", zabbix::agent),
    ("zabbix/connleak-template.yaml", zabbix::template),
];

fn contrib() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib")
}

fn read(name: &str) -> String {
    let path = contrib().join(name);
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

#[test]
fn option_lists_are_those_of_the_checks() {
    for (name, make) in GENERATED {
        if std::env::var_os("BLESS").is_some() {
            fs::write(contrib().join(name), make()).unwrap();
        }
        assert!(read(name) == make(), "contrib/{name} differs from --help: run BLESS=1 cargo test --test contrib");
    }
}

/// Counted apart from the way that they are written.
#[test]
fn every_check_with_every_option_is_in_icinga_and_director() {
    let (conf, basket) = (icinga::commands(), director::basket());
    let basket: serde_json::Value = serde_json::from_str(&basket).unwrap();
    for check in CHECKS {
        let options: Vec<_> = options::of(check).into_iter().filter(icinga::is_wanted).collect();
        let block = conf.split(&format!("object CheckCommand \"{}\" {{", check.short())).nth(1).unwrap();
        let block = block.split("\n}\n").next().unwrap();
        assert_eq!(block.matches("description = ").count(), options.len(), "{}", check.name());
        let arguments = &basket["Command"][check.short()]["arguments"];
        for option in &options {
            assert!(block.contains(&format!("\"{}\" = {{", option.long())), "{} {option:?}", check.name());
            assert!(arguments[option.long()].is_object(), "{} {option:?}", check.name());
        }
    }
}
