//! The kernel's walk of its socket table, nothing returned: what no reader of sockets can undercut. With a number: so often,
//! as for so many network namespaces, each of which is looked for in the host's one table.

use connleak::kernel::socket::{Side, State, StateSet};
use connleak::kernel::source::{Query, netlink};

fn main() -> connleak::base::error::Result<()> {
    // One end of a connection that is being opened: the bench opens none while it measures. LISTEN
    // would be found in another table, and without the walk.
    let states = StateSet::of(&[State::SynSent]);
    let query = Query { states, ports: &[11211], side: Side::Server, times: false, listeners: false };
    let walks = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1);
    for _ in 0..walks {
        let seen = netlink::visit_by(netlink::Dump::Combined, &netlink::open()?, &query, &mut |_| {})?;
        println!("{} rows", seen.rows);
    }
    Ok(())
}
