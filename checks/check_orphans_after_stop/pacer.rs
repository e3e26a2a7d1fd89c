//! Paces the looks at everything while a stop is waited for: as long as one socket that was left is still there, nothing has settled.

use super::leftover::Left;
use connleak::base::backoff::Pauses;
use connleak::base::error::Result;
use connleak::kernel::select::Selection;
use connleak::kernel::socket::{Socket, State};
use connleak::kernel::source::Coverage;
use connleak::kernel::source::Origin;
use connleak::kernel::source::exact::Asker;
use connleak::kernel::world::World;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Looks at everything take at most a fiftieth of the time that has passed.
const SHARE: u32 = 50;

pub struct Pacer<'a> {
    started: Instant,
    wait: Duration,
    pauses: Pauses,
    /// CPU time of looks at everything.
    spent: Duration,
    /// `None`: only a look at everything tells.
    asker: Option<Asker>,
    ignore: &'a [State],
    /// Where each look has to remember what the next one couldn't tell: clients' ends of UNIX sockets.
    must_look: bool,
}

impl<'a> Pacer<'a> {
    pub fn new(world: &World, selection: &Selection, ignore: &'a [State], wait: Duration) -> Pacer<'a> {
        let must_look = !selection.unix.is_empty();
        // To be asked again and again only where there is something to wait for.
        let asker = if must_look || wait.is_zero() { None } else { Asker::here(world) };
        let (started, pauses, spent) = (Instant::now(), Pauses::default(), Duration::ZERO);
        Pacer { started, wait, pauses, spent, asker, ignore, must_look }
    }

    /// A look at everything, which is dear.
    pub fn timed<T>(&mut self, look: impl FnOnce() -> T) -> T {
        let before = cpu_time();
        let seen = look();
        self.spent += cpu_time().saturating_sub(before);
        seen
    }

    /// Waits until it may be that nothing is left, or the wait is over.
    ///
    /// # Errors
    /// Those of `may_go_on`.
    pub fn wait(&mut self, left: &[Left], seen: &Coverage, may_go_on: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let is_told_here = seen.origin == Origin::Netlink;
        let mut left = left.iter().map(|left| &left.socket).filter(|_| is_told_here);
        let mut witness = left.next();
        loop {
            may_go_on()?;
            let rest = self.wait.saturating_sub(self.started.elapsed());
            let pause = self.pauses.next(rest);
            std::thread::sleep(if witness.is_none() { pause.max(self.until_affordable()).min(rest) } else { pause });
            while let Some(socket) = witness
                && !self.is_there(socket)
            {
                witness = left.next();
            }
            let is_over = self.started.elapsed() >= self.wait;
            if is_over || (witness.is_none() && self.until_affordable().is_zero()) {
                return Ok(());
            }
        }
    }

    /// Whether a socket is left for certain: unchanged in whose it is, as that decides whether it is meant.
    fn is_there(&self, socket: &Socket) -> bool {
        self.asker
            .as_ref()
            .and_then(|asker| asker.find(socket))
            .is_some_and(|now| !self.ignore.contains(&now.state) && (now.uid, now.inode) == (socket.uid, socket.inode))
    }

    /// For how long the next look at everything has to wait to stay within its share.
    fn until_affordable(&self) -> Duration {
        if self.must_look { Duration::ZERO } else { (self.spent * SHARE).saturating_sub(self.started.elapsed()) }
    }
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
