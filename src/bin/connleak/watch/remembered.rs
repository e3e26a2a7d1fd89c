//! The last session seen of each socket: what a CLOSE_WAIT was, once its service has forgotten it.

use super::list_command::{self, Running};
use crate::screen::visible;
use crate::sessions::gather::{self, Scene};
use crate::sessions::input::Told;
use crate::sessions::join::{Connection, End};
use crate::sessions::row::{self, Row};
use connleak::base::duration::Span;
use connleak::kernel::socket::State;
use connleak::kernel::world::World;
use connleak::service::target::Target;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Sockets that are remembered; of each at most [`LONGEST`] characters.
const MOST: usize = 10_000;
const LONGEST: usize = 400;
/// Told at the end.
const MOST_TOLD: usize = 20;
/// A service is not asked more often.
const PAUSE: Duration = Duration::from_secs(1);
/// How long its client may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of a socket's session.
struct Kept {
    /// `shop@orders, idle, last statement SELECT 1`.
    words: String,
    seen: Instant,
}

pub struct Memory {
    command: String,
    running: Running,
    kept: HashMap<u64, Kept>,
    /// Sockets in CLOSE_WAIT that were told already.
    told: HashSet<u64>,
    asked: Option<Instant>,
}

/// What a look at the sessions adds to the frame.
#[derive(Default)]
pub struct Remembered {
    /// New in CLOSE_WAIT since the look before, and what could not be asked.
    pub notes: Vec<String>,
    /// All in CLOSE_WAIT whose last session is known, at most some.
    pub left: Vec<String>,
}

impl Memory {
    pub fn new(command: String, running: Running) -> Memory {
        Memory { command, running, kept: HashMap::new(), told: HashSet::new(), asked: None }
    }

    /// Asks the service by its client, then the kernel, and remembers who is who.
    pub fn look(&mut self, target: &Target, world: &World) -> connleak::base::error::Result<Remembered> {
        let mut remembered = Remembered::default();
        let mut told = Told::default();
        if self.asked.is_none_or(|asked| asked.elapsed() >= PAUSE) {
            let limit = PATIENCE.min(world.deadline.left() / 2);
            let list = list_command::run(&self.command, limit, &self.running);
            let read = list
                .and_then(|list| told.add(&list, &target.profile.service).map_err(|why| format!("--sessions: {why}")));
            remembered.notes.extend(read.err());
            self.asked = Some(Instant::now());
        }
        let scene = gather::look(target, world)?;
        self.turn(&scene, &told, &target.profile.service, &mut remembered);
        Ok(remembered)
    }

    fn turn(&mut self, scene: &Scene, told: &Told, service: &str, remembered: &mut Remembered) {
        let now = Instant::now();
        let rows = row::rows(scene, &told.sessions, told.is_pooler(service), 0).rows;
        let alive: HashSet<u64> = scene.connections.iter().flat_map(ends).map(key).collect();
        self.kept.retain(|key, _| alive.contains(key));
        self.told.retain(|key| alive.contains(key));
        for row in &rows {
            let Some(connection) = row.connection else { continue };
            let closed = ends(connection).find(|end| end.suspect.state == State::CloseWait);
            match (words(row), closed) {
                (Some(words), _) => {
                    for end in ends(connection) {
                        // Full: those that are known already go on.
                        if self.kept.len() < MOST || self.kept.contains_key(&key(end)) {
                            self.kept.insert(key(end), Kept { words: words.clone(), seen: now });
                        }
                    }
                }
                (None, Some(end)) => {
                    let Some(kept) = self.kept.get(&key(end)) else { continue };
                    let ago = Span::seconds(now.duration_since(kept.seen).as_secs());
                    let line = format!("{} {} was {} ({ago} ago)", row.client(), end.suspect.local, kept.words);
                    if self.told.insert(key(end)) {
                        remembered.notes.push(format!("closed by the service and not here: {line}"));
                    }
                    if remembered.left.len() < MOST_TOLD {
                        remembered.left.push(line);
                    }
                }
                (None, None) => {}
            }
        }
    }
}

fn ends(connection: &Connection) -> impl Iterator<Item = &End> {
    [&connection.client, &connection.server].into_iter().flatten()
}

/// What makes a socket the same one at the next look.
fn key(end: &End) -> u64 {
    end.suspect.cookie.map_or(end.suspect.inode, std::num::NonZeroU64::get)
}

/// What a session was, as far as it is told.
fn words(row: &Row) -> Option<String> {
    let session = row.session?;
    let who =
        [session.user.as_deref(), session.database.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("@");
    let application = session.application.as_ref().map(|name| format!("'{name}'"));
    let statement = row.asking().and_then(|asking| asking.query.as_ref());
    let statement =
        statement.map(|text| format!("last statement {}", text.split_whitespace().collect::<Vec<_>>().join(" ")));
    let parts = [Some(who).filter(|who| !who.is_empty()), application, Some(row.describe()), statement];
    let line = visible(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "));
    Some(line.chars().take(LONGEST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::kernel::socket::{Endpoint, Socket};
    use connleak::owners::blame::Suspect;

    fn connection(number: u64, state: State) -> Connection {
        let end = |port| Endpoint::new([127, 0, 0, 1].into(), port);
        let port = 10_000 + (number % 50_000) as u16;
        let socket = Socket { inode: number + 1, ..Socket::bare(state, end(port), end(5432)) };
        let client = End { suspect: Suspect::new(&socket, Some(5)), pid: None, own_pid: None, fd: None };
        Connection { client: Some(client), server: None }
    }

    fn scene(connections: Vec<Connection>) -> Scene {
        Scene { connections, processes: Default::default(), serves: false, notes: Vec::new() }
    }

    fn list(numbers: std::ops::Range<u64>) -> Told {
        let rows = numbers.map(|number| format!("{number},127.0.0.1,{},shop,idle,select {number}\n", 10_000 + number));
        let text = "pid,client_addr,client_port,usename,state,query\n".to_owned() + &rows.collect::<String>();
        let mut told = Told::default();
        told.add(&text, "postgresql").unwrap();
        told
    }

    #[test]
    fn what_falls_into_close_wait_is_told_once_and_stays_in_the_list() {
        let mut memory = Memory::new(String::new(), Running::default());
        let mut look = |states: [State; 2], told: Told| {
            let connections = [(0, states[0]), (1, states[1])].map(|(number, state)| connection(number, state));
            let mut remembered = Remembered::default();
            memory.turn(&scene(connections.into()), &told, "postgresql", &mut remembered);
            (remembered.notes, remembered.left.len())
        };
        let (open, closed) = (State::Established, State::CloseWait);
        assert_eq!(look([open, open], list(0..2)), (vec![], 0));
        let (notes, left) = look([closed, open], list(1..2));
        assert_eq!((notes.len(), left), (1, 1), "{notes:?}");
        assert!(notes[0].contains("127.0.0.1:10000 was shop, idle, last statement select 0 ("), "{notes:?}");
        assert_eq!(look([closed, open], Told::default()), (vec![], 1));
        assert_eq!(look([closed, closed], Told::default()).1, 2);
    }

    #[test]
    fn it_is_bounded_and_forgets_what_is_gone() {
        let mut memory = Memory::new(String::new(), Running::default());
        let many: Vec<Connection> = (0..12_000).map(|number| connection(number, State::Established)).collect();
        memory.turn(&scene(many), &list(0..12_000), "postgresql", &mut Remembered::default());
        assert_eq!(memory.kept.len(), MOST);
        memory.turn(&scene(Vec::new()), &Told::default(), "postgresql", &mut Remembered::default());
        assert_eq!((memory.kept.len(), memory.told.len()), (0, 0));
    }
}
