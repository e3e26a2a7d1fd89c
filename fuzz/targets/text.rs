#![no_main]
//! All that people write (ranges, durations, profiles, INI files) and the kernel tells of a process
//! (cgroup lists, stat lines). The first byte chooses.

use connleak::duration::Span;
use connleak::range::Range;
use connleak::stat::{self, Stat};
use connleak::{cgroup, extra_opts, profile};
use std::path::Path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 6 {
        4 => drop(cgroup::cgroup_path(rest).map(|path| cgroup::unit_name(&path))),
        5 => drop((Stat::parse(rest).map(|stat| stat.has_ended()), stat::started(rest))),
        _ => {}
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match choice % 6 {
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
        _ => {}
    }
});
