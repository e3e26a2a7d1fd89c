#![no_main]
//! All that people write (ranges, durations and other values of options, profiles, maps of tenants, INI
//! files) and the kernel tells of a process (cgroup lists, stat lines). The first byte chooses.

use connleak::base::duration::Span;
use connleak::growth::measure::LimitChoice;
use connleak::kernel::cgroup;
use connleak::kernel::cgroup::container;
use connleak::kernel::proc_stat::{self, Stat};
use connleak::kernel::select::Cidr;
use connleak::kernel::world::{Netns, Source};
use connleak::options::args::{Percent, Pids, Ports, Speed, Timeout};
use connleak::options::extra_opts;
use connleak::report::range::Range;
use connleak::service::profile::{self, map};
use connleak::service::tenant_key::Key;
use std::path::Path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 8 {
        4 => drop(cgroup::cgroup_path(rest).map(|path| (cgroup::unit_name(&path).len(), container::name(&path)))),
        5 => drop((Stat::parse(rest).map(|stat| stat.has_ended()), proc_stat::started(rest))),
        _ => {}
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match choice % 8 {
        0 => {
            if let Ok(range) = text.parse::<Range>() {
                assert_eq!(range.to_string().parse(), Ok(range));
            }
        }
        1 => {
            let _ = text.parse::<Span>().map(|span| span.to_string());
        }
        2 => {
            let _ = profile::parse(text, Path::new("fuzz.yaml"));
        }
        3 => {
            let _ = extra_opts::section_of(text, "a", Path::new("fuzz.ini"));
        }
        6 => drop(map::parse(text, Path::new("fuzz.yaml"))),
        7 => value(text),
        _ => {}
    }
});

fn value(text: &str) {
    if let Ok(Ports(ports)) = text.parse() {
        assert!(!ports.contains(&0));
    }
    if let Ok(Pids(pids)) = text.parse() {
        assert!(!pids.contains(&0));
    }
    let _ = text.parse::<Key>();
    let _ = text.parse::<Cidr>();
    let _ = (text.parse::<Timeout>(), text.parse::<LimitChoice>());
    let _ = (text.parse::<Percent>(), text.parse::<Speed>());
    let _ = (text.parse::<Netns>(), text.parse::<Source>());
}
