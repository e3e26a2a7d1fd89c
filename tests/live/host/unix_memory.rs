//! What earlier runs tell of UNIX sockets: clients whose server has gone, listeners that were there, and what no run knows.

use super::unix_sockets::{Place, client_of};
use crate::lab::run::{CLOSEWAIT, CONNLEAK, Outcome, TENANTS, run};
use crate::lab::{Lab, Peer, example};
use crate::sessions::pasted::Application;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn says(outcome: &Outcome, code: i32, words: &[&str]) {
    let missing: Vec<_> = words.iter().filter(|words| !outcome.stdout.contains(**words)).collect();
    assert!(outcome.code == code && missing.is_empty(), "{code}, {missing:?}: {outcome:?}");
}

/// As long as its clients keep their ends the path is no mistake: it is the listener that is missing.
#[test]
fn a_listener_that_has_gone_is_said_while_its_clients_remain() {
    Lab::test(|lab| {
        let place = Place::new();
        let [path, other] = ["x.sock", "y.sock"].map(|name| place.at(name));
        let (mut server, client) = place.connected(lab, &path, 4);
        let _other = place.connected(lab, &other, 1);
        let looks: [&[&str]; 3] =
            [&["--unix", &path], &["--unix", &path, "--unix", &other], &["--unix", &place.at("*.sock")]];
        let key = ["--key=user", "--state-dir", &place.at("tenants")];
        let tenants = || TENANTS.run(&[&["--unix", &path, "--limit=9", "--close-wait-warning=9"], &key[..]].concat());
        for look in looks {
            assert_eq!(place.check(look).code, 0);
        }
        assert_eq!(tenants().code, 0);
        let gone = format!("nobody listens at {path} any more");
        let is_said = |outcome: &Outcome| {
            says(outcome, outcome.code, &[&gone]);
            assert!(!outcome.text().contains("no such listener"), "{outcome:?}");
        };
        // What it accepted goes on.
        server.say("close l");
        let alive = place.check(looks[0]);
        assert_eq!((alive.code, alive.value("established")), (0, 8.0), "{alive:?}");
        is_said(&alive);
        server.end();
        for _ in 0..2 {
            for look in looks {
                let outcome = place.check(look);
                assert_eq!((outcome.code, outcome.value("close_wait")), (1, 4.0), "{outcome:?}");
                is_said(&outcome);
                let calm = place.check(&[look, &["-w4"]].concat());
                assert_eq!(calm.code, 0, "{calm:?}");
                is_said(&calm);
            }
            is_said(&tenants());
        }
        let required = place.check(&["--unix", &path, "--require-listener=critical"]);
        says(&required, 2, &[&gone]);
        client.end();
        says(&place.check(looks[0]), 3, &["no such listener: "]);
        assert_eq!(place.check(looks[2]).code, 0, "the other one listens");
        fs::remove_file(&path).unwrap();
        let (_server, _client) = place.connected(lab, &path, 1);
        let anew = place.check(looks[0]);
        assert!(anew.code == 0 && !anew.text().contains("listens"), "{anew:?}");
    });
}

/// The listener is in another network namespace, as that of a container is which has its folder mounted here.
#[test]
fn of_a_listener_that_never_was_here_nothing_is_said() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let mut command = Command::new("unshare");
        command.arg("--net").arg(example("peer"));
        let (mut server, mut client) = (lab.peer_by(command), lab.peer());
        server.say(&format!("listen l {path}"));
        client.say(&format!("connect c {path} 3"));
        server.say("accept s l 3");
        for _ in 0..2 {
            let outcome = place.check(&["--unix", &path]);
            assert_eq!((outcome.code, outcome.value("established")), (0, 6.0), "{outcome:?}");
            assert!(!outcome.text().contains("listens"), "{outcome:?}");
        }
    });
}

/// A profile's usual sockets are nobody's mistake; where a listener is required it must be there all the same.
#[test]
fn a_listener_is_required_of_a_profile_that_has_unix_sockets_only() {
    Lab::test(|lab| {
        let place = Place::new();
        let profile = place.at("mine.yaml");
        fs::write(&profile, format!("service: mine\nports: []\nunix: [{}]\n", place.at("*.sock"))).unwrap();
        let look = || place.check(&["-P", &profile, "--require-listener=critical"]);
        says(&look(), 2, &["none of its UNIX sockets is listened on"]);
        let (server, client) = place.connected(lab, &place.at("x.sock"), 1);
        assert_eq!(look().code, 0);
        server.end();
        says(&look(), 2, &["1 client socket in CLOSE_WAIT", "x.sock any more"]);
        drop(client);
    });
}

/// A server that has accepted so many connections of user 4001's client, and of 4002's: name `s`.
fn of_two_users(lab: &Lab, place: &Place, path: &str, counts: [u32; 2]) -> (Peer, [Peer; 2]) {
    fs::set_permissions(place.at("."), Permissions::from_mode(0o755)).unwrap();
    let mut server = lab.peer();
    server.say(&format!("listen l {path}"));
    fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    let mut clients = [4001, 4002].map(|uid| client_of(lab, uid));
    for (client, count) in clients.iter_mut().zip(counts) {
        client.say(&format!("connect c {path} {count}"));
    }
    server.say(&format!("accept s l {}", counts.iter().sum::<u32>()));
    (server, clients)
}

/// What each choice of a user sees is another's no more than another path's.
#[test]
fn checks_of_several_users_have_a_memory_each() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, _clients) = of_two_users(lab, &place, &path, [2, 2]);
        let look = |user: &str| place.check(&["--unix", &path, "--side=client", "--user", user]);
        assert_eq!(["4001", "4002"].map(|user| look(user).value("established")), [2.0, 2.0]);
        server.say("close s");
        assert_eq!(["4001", "4002", "4001"].map(|user| look(user).value("close_wait")), [2.0, 2.0, 2.0]);
    });
}

/// Doubt stays doubt, but who looks for its end is told whose the sockets are and how to be rid of it.
#[test]
fn who_holds_closed_ends_from_before_the_first_run_is_named() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, clients) = of_two_users(lab, &place, &path, [3, 1]);
        server.say("close s");
        let look = |more: &[&str]| place.check(&[&["--unix", &path, "-w3"], more].concat());
        let words = "4 closed ends of UNIX clients from before the first run, whose can't be told";
        let [first, second] = clients.each_ref().map(|client| format!("peer[{}] (uid ", client.pid()));
        for _ in 0..2 {
            let remedy = "): restart these to be sure, or leave clients out by --side server";
            says(&look(&[]), 3, &[words, &format!(", held by {first}4001), {second}4002"), remedy]);
        }
        let of_one = look(&["--side=client"]);
        says(&of_one, 3, &[words, ": restart these to be sure;"]);
        // Where they change nothing nobody is looked for.
        let calm = look(&["-w4"]);
        assert!(calm.code == 0 && calm.text().contains(words) && !calm.text().contains("restart"), "{calm:?}");
        let blind = CLOSEWAIT.unprivileged(&["--unix", &path, "-w3", "--min-age=0s"]);
        says(&blind, 3, &[words, "by whom can't be read"]);
        // Those of another user are not meant.
        let count = |user: &str| {
            let outcome = look(&["--user", user, "-w0"]);
            let told =
                outcome.text().split(" closed end").next().and_then(|text| text.split(": ").last()?.parse().ok());
            (outcome.code, told)
        };
        assert_eq!([count("4001"), count("4002"), count("4003")], [(3, Some(3)), (3, Some(1)), (0, None)]);
        let [_first, second] = clients;
        drop(_first);
        let left = look(&["-w0"]);
        says(&left, 3, &["1 closed end of a UNIX client from before the first run", ": restart it to be sure"]);
        second.end();
        assert_eq!(look(&[]).code, 0);
    });
}

/// A client that passes credentials is bound to an abstract name by its connect(2), which is no listener's.
const AUTOBOUND: &str = "
import socket, sys
print('ready', flush=True)
for line in sys.stdin:
    word, path = line.split()
    if word == 'connect':
        kept = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        [one.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1) for one in kept]
        [one.connect(path) for one in kept]
    if word == 'serve':
        listener = socket.socket(socket.AF_UNIX)
        listener.bind('')
        listener.listen()
        there = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        [one.connect(listener.getsockname()) for one in there]
        kept = [listener] + [listener.accept()[0] for _ in there]
        [one.close() for one in there]
    print('done', flush=True)
";

#[test]
fn closed_ends_that_the_kernel_gave_a_name_are_a_doubt() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, _client) = place.connected(lab, &path, 1);
        let [mut client, mut other] = [(); 2].map(|()| Application::start(Path::new("python3"), AUTOBOUND));
        // What is accepted at such a name has it, too.
        other.tell(&format!("serve {path}"));
        let look = || place.check(&["--unix", &path, "-w3"]);
        assert_eq!(look().code, 0);
        client.tell(&format!("connect {path}"));
        server.say("accept t l 4");
        server.say("close t");
        fs::remove_dir_all(place.at("state")).unwrap();
        for _ in 0..2 {
            says(
                &look(),
                3,
                &["4 closed ends of UNIX clients from before the first run, whose can't be told, held by python3["],
            );
        }
        drop(client);
        assert_eq!(look().code, 0);
    });
}

/// `who` reads what the checks remember, whoever ran them.
#[test]
fn who_knows_what_the_checks_remember() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (server, client) = place.connected(lab, &path, 4);
        let state = place.at("state");
        let who = |more: &[&str]| {
            run(Command::new(CONNLEAK).args(["who", "--unix", &path, "--state-dir", &state]).args(more))
        };
        assert_eq!(place.check(&["--unix", &path]).code, 0);
        assert_eq!(place.check(&["--unix", &path, "--side=client"]).code, 0);
        server.end();
        let row = format!("peer[{}]", client.pid());
        for choice in [&[][..], &["--side=client"]] {
            let shown = who(choice);
            says(
                &shown,
                0,
                &["4 sockets of 1 owner: 4 CLOSE_WAIT", &row, &format!("nobody listens at {path} any more")],
            );
            assert!(!shown.stdout.contains("no such listener"), "{shown:?}");
        }
        // Once a check has seen them so it is known for how long.
        assert_eq!(place.check(&["--unix", &path]).code, 1);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let shown = who(&["-ojson"]);
        let json: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
        let oldest = json["owners"][0]["oldest_close_wait_seconds"].as_f64().unwrap();
        assert!(oldest >= 1.1 && json["owners"][0]["pid"] == client.pid(), "{json}");
        assert!(!shown.stdout.contains("tells no ages"), "{shown:?}");
        client.end();
        says(&who(&[]), 0, &["nobody has any socket of it here", "no such listener: ", "nobody listens on it"]);
        let missing = run(Command::new(CONNLEAK).args(["who", "--unix", &place.at("y.sock")]));
        says(&missing, 0, &["nobody has any socket of it here", "no such listener: ", "listening: nothing"]);
    });
}

/// A container's clients vanish with it: what the service accepted of them is in a namespace that it alone keeps.
#[test]
fn what_a_dead_namespace_takes_along_is_doubt_while_it_is_held() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let mut server = lab.peer();
        server.say(&format!("listen l {path}"));
        let mut client = lab.in_another(|inner| inner.peer());
        client.say(&format!("connect c {path} 4"));
        server.say("accept s l 4");
        client.say("close c");
        let look = || place.check(&["--unix", &path, "--netns", "all"]);
        for _ in 0..2 {
            says(&look(), 1, &["4 server sockets in CLOSE_WAIT"]);
        }
        client.end();
        let held = format!(
            "4 UNIX sockets that were in CLOSE_WAIT are in no network namespace that is reached any more, held by peer[{}]",
            server.pid()
        );
        for _ in 0..2 {
            says(&look(), 3, &[&held]);
        }
        server.say("close s");
        assert_eq!(look().code, 0);
    });
}
