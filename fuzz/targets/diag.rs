#![no_main]
//! The netlink decoder on any bytes: it ends, and every message it takes lies inside the buffer.

use connleak::kernel::source::diag::{self, Table};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for table in [Table::Tcp, Table::Mptcp] {
        let messages = diag::messages(bytes, table).count();
        assert!(messages <= bytes.len() / diag::HEADER + 1);
    }
});
