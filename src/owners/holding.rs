//! Who holds what a check found: looked for where the state or the caller wants it, and put into the report.

use crate::kernel::owner::read_tables::ReadTables;
use crate::kernel::owner::{Holders, Owners};
use crate::kernel::source::Coverage;
use crate::kernel::world::World;
use crate::owners::blame::{Blame, Grouping, Suspect};
use crate::owners::holders;
use crate::owners::sockets;
use crate::report::Report;
use crate::service::target::Target;
use std::time::Duration;

/// The holders of a check's suspects.
#[derive(Debug)]
pub struct Holding {
    pub owners: Owners,
    pub blame: Blame,
    /// Where not, nobody is named and nobody is missed.
    is_wanted: bool,
}

impl Holding {
    /// `wanted`: whether, and whether all holders of a socket or its first.
    pub fn find(world: &World, target: &Target, suspects: &mut [Suspect], wanted: Option<Holders>) -> Holding {
        Holding::find_in(world, target, suspects, wanted, None)
    }

    /// [`Holding::find`]. `tables`: what was read of processes.
    pub fn find_in(
        world: &World,
        target: &Target,
        suspects: &mut [Suspect],
        wanted: Option<Holders>,
        tables: Option<&mut ReadTables>,
    ) -> Holding {
        let owners = wanted.map(|which| holders::find(world, suspects, which, tables)).unwrap_or_default();
        let blamed = if wanted.is_some() { suspects } else { &mut [] };
        let blame = Blame::new(blamed, &owners, Grouping::new(target));
        Holding { owners, blame, is_wanted: wanted.is_some() }
    }

    /// Adds who has them, in the detail that `verbose` asks for, and for how many nobody was found.
    pub fn add_to(&self, report: &mut Report, suspects: &[Suspect], target: &Target, verbose: u8) {
        self.blame.add_to(report);
        sockets::add_to(report, suspects, &self.owners, &target.request);
        if self.is_wanted {
            report.lacks_owners(self.blame.unowned, self.blame.shortfall(&self.owners));
        }
        report.details.extend(self.blame.details(suspects, &self.owners, verbose));
    }
}

/// For `-vvv`: what each stage saw and took. `gathered`: when the sockets were all read.
pub fn stages(seen: &Coverage, gathered: Duration, owners: &Owners, world: &World) -> [String; 2] {
    let took = world.deadline.elapsed().saturating_sub(gathered);
    [
        format!("sockets: {}, {} rows, {gathered:.1?}", seen.how, seen.rows),
        format!("owners: {}, {took:.1?}", owners.how()),
    ]
}
