//! The kernel's dump of all UNIX sockets with their names, and nothing done with it: there is no filter by name, so no
//! reader of one path's connections can undercut it.

use connleak::base::deadline::Deadline;
use connleak::kernel::source::unix::{self, Query};
use connleak::kernel::world::World;
use std::time::Duration;

fn main() -> connleak::base::error::Result<()> {
    let world = World::here(Deadline::after(Duration::from_secs(60)));
    let seen = unix::visit(&world, Query { files: false, ..Query::BRIEF }, &mut |_, _| {})?;
    println!("{} rows", seen.rows);
    Ok(())
}
