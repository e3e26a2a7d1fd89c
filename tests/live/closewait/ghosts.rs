//! `--ghosts`: sockets that left the tables while their descriptor stays open.

use crate::companion::run::connleak;
use crate::host::unit::Service;
use crate::lab::run::{CLOSEWAIT, Outcome, run};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab, Peer, example};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

const LOOK: [&str; 6] = ["-p27401", "--ghosts", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];
const ADDRESS: &str = "127.0.0.1:27401";

fn look(more: &[&str]) -> Outcome {
    CLOSEWAIT.run(&[&LOOK, more].concat())
}

/// A server with `count` sockets whose client has closed and then reset them, and one that it uses.
fn haunted(lab: &Lab, count: u32) -> (Peer, Peer) {
    let (mut server, mut client) = (lab.peer(), lab.peer());
    server.say(&format!("listen l {ADDRESS}"));
    client.say(&format!("connect used {ADDRESS} 1"));
    server.say("accept used l 1");
    client.say(&format!("connect c {ADDRESS} {count}"));
    server.say(&format!("accept s l {count}"));
    client.say("shutdown c");
    lab.wait_for(CLOSE_WAIT, 27401, count as usize);
    client.say("reset c");
    lab.wait_for(CLOSE_WAIT, 27401, 0);
    (server, client)
}

#[test]
fn a_reset_after_close_wait_hides_nothing() {
    Lab::test(|lab| {
        let (mut server, mut client) = haunted(lab, 4);
        let unseen = CLOSEWAIT.run(&["-p27401", "--min-age=0s", "-w0", "--no-ghosts"]);
        assert_eq!((unseen.code, unseen.value("close_wait")), (0, 0.0), "the tables don't show them: {unseen:?}");
        let outcome = look(&["-vv"]);
        assert_eq!((outcome.code, outcome.value("ghosts"), outcome.value("close_wait")), (1, 4.0, 4.0), "{outcome:?}");
        let text = outcome.text();
        assert!(text.contains("and 4 ghosts (warning 0)"), "{text}");
        assert!(text.contains(&format!("all held by peer[{}]", server.pid())), "{text}");
        assert!(!text.contains("0.0.0.0"), "a ghost has no peer: {text}");
        let lines = outcome.output().long_text;
        assert_eq!(lines.iter().filter(|line| line.starts_with("ghost, inode")).count(), 4, "{lines:?}");
        let looked = lines.iter().find_map(|line| line.strip_prefix("ghosts: looked for in ")).unwrap();
        for pid in [server.pid(), client.pid()] {
            assert!(looked.contains(&format!("peer[{pid}]")), "{looked}");
        }
        let (owners, json) = (look(&["-ojson", "--by=peer"]).json(), look(&["-ojson", "--netns=all"]).json());
        assert_eq!((&owners["owners"][0]["sockets"], &owners["groups"][0]["key"]), (&4.into(), &"unknown".into()));
        assert_eq!((&json["ghosts"]["sockets"], &json["complete"]["namespaces"]), (&4.into(), &2.into()), "{json}");
        let pids = [server.pid(), client.pid()];
        assert_eq!(owners["ghosts"], serde_json::json!({"sockets": 4, "elsewhere": 0, "looked_at": pids}), "{owners}");

        // A pool may keep them, also once a probe was answered by a reset.
        let spared = look(&["--expected=4"]);
        let told = ["close_wait", "ghosts", "spares"].map(|name| spared.value(name));
        assert_eq!((spared.code, told), (0, [0.0, 0.0, 4.0]), "{spared:?}");
        let beyond = look(&["--expected=3"]);
        assert_eq!((beyond.code, beyond.value("ghosts"), beyond.value("spares")), (1, 1.0, 3.0), "{beyond:?}");

        // They count together with what the tables show.
        client.say(&format!("connect late {ADDRESS} 2"));
        server.say("accept late l 2");
        client.say("close late");
        lab.wait_for(CLOSE_WAIT, 27401, 2);
        let both = look(&["-c5"]);
        assert_eq!((both.code, both.value("ghosts"), both.value("close_wait")), (2, 4.0, 6.0), "{both:?}");

        server.say("close late");
        server.say("close s");
        let cleared = look(&[]);
        assert_eq!((cleared.code, cleared.value("ghosts")), (0, 0.0), "{cleared:?}");
        client.end();
        server.end();
        let (_server, _client) = haunted(lab, 2);
        assert_eq!(look(&[]).value("ghosts"), 2.0, "again");
    });
}

#[test]
fn what_has_a_place_in_a_table_is_no_ghost() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected(ADDRESS, 3);
        server.say("listen other [::1]:27402");
        server.say("bind b 127.0.0.1:27403");
        client.say("shutdown c");
        client.say("connect elsewhere [::1]:27402 2");
        lab.wait_for(CLOSE_WAIT, 27401, 3);
        let outcome = look(&["-c2"]);
        assert_eq!((outcome.code, outcome.value("ghosts"), outcome.value("close_wait")), (2, 0.0, 3.0), "{outcome:?}");
        // One that was never bound or connected looks like one that was reset: the man page says so.
        server.say("socket idle 1");
        assert_eq!(look(&[]).value("ghosts"), 1.0);
    });
}

/// From a thousand on, and where nobody connects meanwhile, the service's rows are shown once.
#[test]
fn of_many_sockets_ghosts_are_those_that_no_table_shows() {
    Lab::test(|lab| {
        let (mut server, mut client) = haunted(lab, 4);
        client.say(&format!("connect many {ADDRESS} 1200"));
        server.say("accept many l 1200");
        client.say("shutdown many");
        server.say("listen other [::1]:27402");
        server.say("bind b 127.0.0.1:27403");
        client.say("connect elsewhere [::1]:27402 2");
        lab.wait_for(CLOSE_WAIT, 27401, 1200);
        let state = tempfile::tempdir().unwrap();
        let of_state = ["--state-dir", state.path().to_str().unwrap()];
        let count = |outcome: &Outcome| (outcome.value("ghosts"), outcome.value("close_wait"));
        for _ in 0..2 {
            let outcome = look(&of_state);
            assert_eq!(count(&outcome), (4.0, 1204.0), "{outcome:?}");
            assert!(outcome.text().contains(&format!("all held by peer[{}]", server.pid())), "{outcome:?}");
        }
        let done = AtomicBool::new(false);
        let busy = std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let outcome = look(&of_state);
                done.store(true, Ordering::Relaxed);
                outcome
            });
            while !done.load(Ordering::Relaxed) {
                for (address, listener) in [(ADDRESS, "l"), ("[::1]:27402", "other")] {
                    client.say(&format!("connect more {address} 1"));
                    server.say(&format!("accept more {listener} 1"));
                }
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
            looking.join().unwrap()
        });
        assert_eq!(count(&busy), (4.0, 1204.0), "what was accepted during the look is no ghost: {busy:?}");
        if lab.traces() {
            let log = tempfile::NamedTempFile::new().unwrap();
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-e", "trace=sendto", "-o"]).arg(log.path());
            let outcome = run(strace.arg(CLOSEWAIT.0).args(LOOK).args(of_state));
            assert_eq!(count(&outcome), (4.0, 1204.0), "{outcome:?}");
            // Listeners, the service, others, and twice what may be no connection, here and outside.
            assert_eq!(std::fs::read_to_string(log.path()).unwrap().lines().count(), 3 + 2 * 2, "{outcome:?}");
        }
    });
}

#[test]
fn a_socket_of_another_namespace_or_protocol_is_no_ghost() {
    Lab::test(|lab| {
        let abroad = lab.outside(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let (unix, _other_end) = UnixStream::pair().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (what, socket) in [("abroad", OwnedFd::from(abroad)), ("unix", unix.into()), ("udp", udp.into())] {
            let mut program = Command::new(example("peer"));
            program.stderr(Stdio::from(socket));
            let mut server = Peer::start(program, None);
            server.say(&format!("listen l {ADDRESS}"));
            let outcome = look(&[]);
            assert_eq!((outcome.code, outcome.value("ghosts")), (0, 0.0), "{what}: {outcome:?}");
        }
    });
}

#[test]
fn what_is_open_for_a_moment_only_is_no_ghost() {
    Lab::test(|lab| {
        let mut server = lab.peer();
        server.say(&format!("listen l {ADDRESS}"));
        server.say("churn");
        let outcome = look(&[]);
        assert_eq!((outcome.code, outcome.value("ghosts")), (0, 0.0), "{outcome:?}");
        server.say("socket forgotten 1");
        assert_eq!(look(&[]).value("ghosts"), 1.0);
    });
}

/// Whose they are can be told by the user or the unit alone where no other socket is left.
#[test]
fn a_process_that_has_only_ghosts_left_is_named_by_its_user_or_unit() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer_of_nobody());
        server.say(&format!("listen l {ADDRESS}"));
        client.say(&format!("connect c {ADDRESS} 3"));
        server.say("accept s l 3");
        server.say("shutdown s");
        lab.wait_for(CLOSE_WAIT, 27401, 3);
        server.say("reset s");
        lab.wait_for(CLOSE_WAIT, 27401, 0);
        let unnamed = look(&[]);
        assert_eq!((unnamed.code, unnamed.output().value("ghosts")), (3, None), "who knows the client: {unnamed:?}");
        assert!(unnamed.text().contains(&format!("most of peer[{}]", client.pid())), "{unnamed:?}");
        let by_user = look(&["--user=nobody"]);
        assert_eq!((by_user.code, by_user.value("ghosts")), (1, 3.0), "{by_user:?}");
        assert!(by_user.text().contains(&format!("held by peer[{}]", client.pid())), "{by_user:?}");
        if let Some(service) = Service::new(lab) {
            service.take(&client);
            let by_unit = look(&["--unit", service.name()]);
            assert_eq!((by_unit.code, by_unit.value("ghosts")), (1, 3.0), "{by_unit:?}");
            client.say("close c");
            assert_eq!(look(&["--unit", service.name()]).code, 0);
            client.say("socket c 3");
            client.end();
        }
    });
}

/// Nor can who doesn't see the processes of a unit, or of another user, say that they have none.
#[test]
fn where_processes_are_hidden_ghosts_are_unknown() {
    Lab::test(|lab| {
        let Some(service) = Service::new(lab) else { return };
        let mut server = lab.peer();
        service.take(&server);
        server.say("socket forgotten 2");
        // A namespace without any socket would be a doubt of its own.
        server.say("listen other 127.0.0.1:27499");
        for meant in [["--unit", service.name()], ["--user", "0"]] {
            let options = [&LOOK[..], &meant].concat();
            let seen = CLOSEWAIT.run(&options);
            assert_eq!((seen.code, seen.value("ghosts")), (1, 2.0), "{seen:?}");
            for hide in [1, 2] {
                let hidden = CLOSEWAIT.under_hidepid(hide, &options);
                assert!(hidden.code == 3 && hidden.text().contains("ghosts unknown: "), "{hidden:?}");
            }
        }
        let own = CLOSEWAIT.under_hidepid(2, &[&LOOK[..], &["--user=65534"]].concat());
        assert_eq!((own.code, own.value("ghosts")), (0, 0.0), "one's own are seen: {own:?}");
    });
}

#[test]
fn ghosts_that_may_be_anybodys_are_no_ok() {
    Lab::test(|lab| {
        let outcome = look(&[]);
        assert_eq!((outcome.code, outcome.value("ghosts")), (0, 0.0), "neither the service nor ghosts: {outcome:?}");
        let mut other = lab.peer();
        other.say("socket c 2");
        let outcome = look(&[]);
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert!(outcome.text().contains("no process has a socket of the service, others have"), "{outcome:?}");
        assert_eq!(look(&["-ojson"]).json()["ghosts"]["elsewhere"], 2);
    });
}

#[test]
fn without_rights_ghosts_are_unknown() {
    Lab::test(|lab| {
        let (server, client) = haunted(lab, 2);
        let other = ["-p27401", "--ghosts", "--min-age=0s"];
        let outcome = CLOSEWAIT.unprivileged(&other);
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert!(outcome.text().contains("ghosts unknown"), "{outcome:?}");
        assert_eq!(outcome.output().value("ghosts"), None, "{outcome:?}");
        client.end();
        server.end();
        assert_eq!(CLOSEWAIT.unprivileged(&other).code, 3, "any process may have some");
        let (mut server, mut client) = (lab.peer_of_nobody(), lab.peer_of_nobody());
        server.say(&format!("listen l {ADDRESS}"));
        client.say(&format!("connect c {ADDRESS} 1"));
        server.say("accept s l 1");
        lab.wait_for(ESTABLISHED, 27401, 2);
        let own = CLOSEWAIT.unprivileged(&other);
        assert_eq!((own.code, own.value("ghosts")), (0, 0.0), "its own processes can be read: {own:?}");
        let mut of_root = lab.peer();
        of_root.say(&format!("connect c {ADDRESS} 1"));
        let some = CLOSEWAIT.unprivileged(&other);
        assert!(some.code == 3 && some.text().contains("ghosts unknown"), "one of three can't: {some:?}");
    });
}

/// The person at the shell sees them too, in this namespace and among all.
#[test]
fn connleak_who_names_their_process() {
    Lab::test(|lab| {
        let (mut server, _client) = haunted(lab, 3);
        let told = format!("ghosts, descriptors of sockets that no table shows: 3 (3 peer[{}])", server.pid());
        for more in [&[][..], &["--netns=all"]] {
            let shown = connleak(&[&["who", "-p27401", "--ghosts"], more].concat());
            assert!(shown.contains(&told), "{shown}");
        }
        let json = connleak(&["who", "-p27401", "--ghosts", "--netns=all", "-ojson"]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let expected = serde_json::json!([{"pid": server.pid(), "command": "peer", "sockets": 3}]);
        assert_eq!(json["ghosts"], expected);
        assert_eq!(json["complete"]["namespaces"], 2, "{json}");
        assert!(connleak(&["who", "-p27401"]).contains(&told), "by default");
        assert!(!connleak(&["who", "-p27401", "--no-ghosts"]).contains("ghosts"));
        server.say("close s");
        assert!(!connleak(&["who", "-p27401", "--ghosts"]).contains("ghosts"));
    });
}

/// Nobody has to ask: what keepalive turns into a ghost within a minute would else never be seen.
#[test]
fn ghosts_count_unless_they_are_switched_off() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        // As a Go server listens; its clients speak plain TCP.
        server.say("mptcp");
        server.say(&format!("listen l {ADDRESS}"));
        client.say(&format!("connect c {ADDRESS} 30"));
        client.say(&format!("connect used {ADDRESS} 1"));
        server.say("accept s l 31");
        let look = |more: &[&str]| CLOSEWAIT.run(&[&["-p27401", "--side=server"], more].concat());
        let healthy = look(&["-v"]);
        assert_eq!((healthy.code, healthy.value("ghosts")), (0, 0.0), "{healthy:?}");
        let blind = || CLOSEWAIT.unprivileged(&["-p27401", "--side=server"]);
        assert_eq!(blind().code, 0, "nothing shows that there are any: {:?}", blind());
        client.say("shutdown c");
        lab.wait_for(CLOSE_WAIT, 27401, 30);
        client.say("reset c");
        lab.wait_for(CLOSE_WAIT, 27401, 0);
        let found = look(&[]);
        assert_eq!((found.code, found.value("ghosts"), found.value("close_wait")), (2, 30.0, 30.0), "{found:?}");
        assert!(found.text().contains(&format!("all held by peer[{}]", server.pid())), "{found:?}");
        let off = look(&["--no-ghosts"]);
        assert_eq!((off.code, off.value("close_wait"), off.output().value("ghosts")), (0, 0.0, None), "{off:?}");
        let both = look(&["--ghosts", "--no-ghosts"]);
        assert!(both.code == 3 && both.text().contains("contradict"), "{both:?}");
        // A user who may not read the server's process is told of it: the namespace has sockets that no protocol lists.
        let blind = blind();
        assert!(blind.code == 3 && blind.text().contains("processes of the service may not be read"), "{blind:?}");
        assert_eq!(blind.output().value("ghosts"), None, "{blind:?}");
    });
}

/// A client that has forgotten all its connections is not known by any, while another one keeps the service known.
#[test]
fn ghosts_of_a_process_without_any_socket_are_doubt() {
    Lab::test(|lab| {
        let (mut server, _used) = lab.connected(ADDRESS, 1);
        let mut leaker = lab.peer();
        leaker.say(&format!("connect gone {ADDRESS} 30"));
        server.say("accept t l 30");
        server.say("reset t");
        lab.wait_for(ESTABLISHED, 27401, 2);
        let outcome = CLOSEWAIT.run(&["-p27401"]);
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert!(outcome.text().contains("ghosts of processes without any socket"), "{outcome:?}");
        assert!(outcome.text().contains(&leaker.pid().to_string()), "{outcome:?}");
        leaker.end();
        let gone = CLOSEWAIT.run(&["-p27401", "-v"]);
        assert_eq!((gone.code, gone.value("ghosts")), (0, 0.0), "{gone:?}");
    });
}

/// To read descriptors costs more than all else: not where the kernel's counters bound them below any threshold.
#[test]
fn so_few_that_none_matters_are_counted_only_where_details_are_shown() {
    Lab::test(|lab| {
        let _haunted = haunted(lab, 4);
        let look = |more: &[&str]| {
            let far_off = ["-p27401", "-w1000000", "-c2000000", "--ratio-min-count=1000000"];
            CLOSEWAIT.run(&[&far_off, more].concat())
        };
        let quick = look(&[]);
        assert_eq!(
            (quick.code, quick.value("close_wait"), quick.output().value("ghosts")),
            (0, 0.0, None),
            "{quick:?}"
        );
        for more in [&["-v"][..], &["--ghosts"], &["-w3"]] {
            let exact = look(more);
            let code = i32::from(more == ["-w3"]);
            assert_eq!((exact.code, exact.value("close_wait"), exact.value("ghosts")), (code, 4.0, 4.0), "{exact:?}");
        }
        assert_eq!(look(&["-ojson"]).json()["ghosts"]["sockets"], 4);
    });
}

/// An application that forgot all connections to one service still has those to others: the line says so, and the
/// profile can name it.
#[test]
fn ghosts_of_a_process_with_other_sockets_are_told_or_its_name_is() {
    Lab::test(|lab| {
        let (mut server, mut used) = lab.connected(ADDRESS, 1);
        let (mut leaker, mut abroad) = (lab.peer(), lab.outside(|| lab.peer()));
        leaker.say("listen other 127.0.0.1:27402");
        leaker.say(&format!("connect gone {ADDRESS} 30"));
        server.say("accept t l 30");
        server.say("reset t");
        abroad.say("socket forgotten 7");
        lab.wait_for(ESTABLISHED, 27401, 2);
        let told = CLOSEWAIT.run(&["-p27401"]);
        assert_eq!((told.code, told.output().value("close_wait")), (0, Some(0.0)), "{told:?}");
        let others =
            format!("30 ghosts of processes with other sockets don't count (peer[{}]): looked for in", leaker.pid());
        assert!(told.text().contains(&others), "{told:?}");
        let json = CLOSEWAIT.run(&["-p27401", "-ojson"]).json();
        assert_eq!(
            json["ghosts"],
            serde_json::json!({"sockets": 0, "elsewhere": 30, "looked_at": [server.pid(), used.pid()]})
        );
        let strict = look(&[]);
        assert!(strict.code == 0 && strict.text().contains(&others), "{strict:?}");

        let profile = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        let named = |clients: &str| {
            std::fs::write(profile.path(), format!("service: x\nports: [27401]\nclients: [{clients}]\n")).unwrap();
            CLOSEWAIT.run(&["-p27401", "-P", profile.path().to_str().unwrap()])
        };
        assert_eq!(named("peers, nobody").code, 0);
        let known = named("nobody, peer");
        assert_eq!((known.code, known.value("ghosts")), (2, 30.0), "not those of another namespace: {known:?}");
        assert!(known.text().contains(&format!("all held by peer[{}]", leaker.pid())), "{known:?}");
        used.say("close c");
        let alone = named("peer");
        assert_eq!((alone.code, alone.value("ghosts")), (2, 30.0), "also where nobody is connected: {alone:?}");
    });
}

/// Who is forked shares a socket with one that has ghosts of its own.
#[test]
fn of_a_chosen_process_only_its_own_count() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say(&format!("listen l {ADDRESS}"));
        client.say(&format!("connect used {ADDRESS} 1"));
        server.say("accept used l 1");
        let forked = client.say("share");
        client.say(&format!("connect c {ADDRESS} 4"));
        server.say("accept s l 4");
        server.say("reset s");
        lab.wait_for(ESTABLISHED, 27401, 2);
        let ghosts = |pid: &str| look(&["--pid", pid]).value("ghosts");
        assert_eq!([ghosts(&client.pid().to_string()), ghosts(forked.trim())], [4.0, 0.0]);
    });
}
