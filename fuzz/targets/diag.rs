#![no_main]
//! The netlink decoder on any bytes: it ends, and every message it takes lies inside the buffer.

use connleak::kernel::source::diag;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let messages = diag::messages(bytes).count();
    assert!(messages <= bytes.len() / diag::HEADER + 1);
});
