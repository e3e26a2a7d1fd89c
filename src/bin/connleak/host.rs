//! The options of subcommands that look at the whole host, and the view that they make.

use connleak::base::deadline::Deadline;
use connleak::kernel::world::{Netns, Source, World};
use connleak::options::args::Timeout;
use std::path::PathBuf;

/// Adds them to a subcommand's own, with `world`: argh has no options that several structs share.
macro_rules! with_host_options {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        pub struct $name {
            $($own)*

            /// network namespace: self, all of this host's (containers), that of a process id, or a name from
            /// 'ip netns'; default self
            #[argh(option, arg_name = "self|all|PID|NAME")]
            netns: Option<connleak::kernel::world::Netns>,

            /// where sockets are read: auto, netlink or proc; default auto
            #[argh(option, arg_name = "SOURCE")]
            source: Option<connleak::kernel::world::Source>,

            /// read processes and socket tables below this directory, as /host/proc in a container
            #[argh(option, arg_name = "DIR")]
            proc_root: Option<std::path::PathBuf>,

            /// time limit in seconds; default 10
            #[argh(option, short = 't', arg_name = "SECONDS")]
            timeout: Option<connleak::options::args::Timeout>,
        }

        impl $name {
            fn world(&self) -> World {
                crate::host::world(self.netns.as_ref(), self.source, self.proc_root.as_ref(), self.timeout)
            }
        }
    };
}
pub(crate) use with_host_options;

/// What is looked at, by these options.
pub fn world(
    netns: Option<&Netns>,
    source: Option<Source>,
    proc_root: Option<&PathBuf>,
    timeout: Option<Timeout>,
) -> World {
    let mut world = World::here(Deadline::after(timeout.unwrap_or_default().after.0));
    world.source = source.unwrap_or_default();
    world.netns = netns.cloned().unwrap_or_default();
    world.proc_root = proc_root.cloned().unwrap_or(world.proc_root);
    world
}
