#![no_main]
//! A socket table as in /proc/net/tcp on any bytes: rows or an error, never a panic.

use connleak::kernel::source::proc;
use std::path::Path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = proc::parse(bytes, Path::new("tcp"));
    // With the header that a table must have, the rows are reached.
    let table = [b"  sl  local_address rem_address\n", bytes].concat();
    let _ = proc::parse(&table[..], Path::new("tcp"));
});
