//! UNIX sockets from a recorded raw netlink dump.

use super::diag::{self, Framed, Message, Row};
use crate::base::error::{Error, Result};
use crate::kernel::source::replay::next_message;
use crate::kernel::source::{Coverage, Origin};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Those that sock_diag sent, before or after what it sent for TCP's.
pub fn visit(path: &Path, each: &mut dyn FnMut(&Row)) -> Result<Coverage> {
    let file = File::open(path).map_err(|cause| Error::reading(path, cause))?;
    let mut seen = Coverage::new(Origin::Replay, path.display().to_string());
    let (mut reader, mut message) = (BufReader::new(file), Vec::new());
    let mut is_open = false;
    while next_message(&mut reader, &mut message).map_err(|cause| Error::reading(path, cause))? {
        let Some(Ok(Framed { message, interrupted })) = diag::messages(&message).next() else {
            return Err(Error::content(path, "not a netlink dump"));
        };
        match message {
            Message::Socket(row) if row.kind.is_of_connections() => {
                (is_open, seen.rows) = (true, seen.rows + 1);
                if interrupted {
                    seen.missing = Some("the socket table changed under the replayed dump".to_owned());
                }
                each(&row);
            }
            Message::Done(0..) => is_open = false,
            Message::Done(_) | Message::Refused(_) if is_open => {
                seen.missing = Some("the replayed dump ended with an error".to_owned());
            }
            _ => {}
        }
    }
    if is_open {
        seen.missing = Some("the replayed dump is cut short".to_owned());
    } else if seen.rows == 0 {
        seen.missing = Some("the replayed dump has no UNIX sockets".to_owned());
    }
    Ok(seen)
}
