#![no_main]
//! The decoder of UNIX sockets on any bytes: it ends, every message it takes lies inside the buffer, and a name is
//! no longer than the kernel's.

use connleak::kernel::source::unix::diag::{self, Message};
use connleak::kernel::unix_target::bound_name;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut messages = 0;
    for framed in diag::messages(bytes) {
        messages += 1;
        if let Ok(diag::Framed { message: Message::Socket(row), .. }) = framed {
            assert!(row.name.len() <= 109 && row.waiting().count() <= bytes.len() / 4);
            let _ = bound_name(row.name);
        }
    }
    assert!(messages <= bytes.len() / 16 + 1);
});
