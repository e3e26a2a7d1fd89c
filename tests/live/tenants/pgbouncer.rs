//! PgBouncer with two tenants in front of PostgreSQL, both as nobody and in directories of their own.

use crate::lab::run::{GROWTH, Outcome, PATIENCE, Started, TENANTS, as_nobody, finish, poll};
use crate::lab::{ESTABLISHED, Lab};
use std::fs;
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const NOBODY: u32 = 65534;

/// Server connections that PgBouncer has for each user.
const POOL: u64 = 3;

/// Both daemons; they end with the test.
struct Site {
    dir: tempfile::TempDir,
    daemons: Vec<Started>,
}

impl Site {
    /// `Err`: what is not installed.
    fn start() -> Result<Site, String> {
        let bin = binaries().ok_or("no PostgreSQL in /usr/lib/postgresql")?;
        let dir = tempfile::Builder::new().prefix("pgb").tempdir().unwrap();
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let mut site = Site { dir, daemons: Vec::new() };
        let data = site.dir.path().join("data");
        let mut initdb = as_nobody(&bin.join("initdb"));
        initdb.args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"]).arg(&data);
        assert!(quiet(&mut initdb, &site).status().unwrap().success(), "initdb");
        let mut postgres = as_nobody(&bin.join("postgres"));
        postgres.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", "5432", "-F", "-k", ""]);
        site.run(&mut postgres)?;
        let ready = || site.sql("create role alice login; create role bob login").success();
        assert!(poll(PATIENCE, ready), "PostgreSQL doesn't answer");
        let ini = site.dir.path().join("pgbouncer.ini");
        let users = site.dir.path().join("users.txt");
        fs::write(&users, "\"alice\" \"\"\n\"bob\" \"\"\n").unwrap();
        let settings = format!(
            "[databases]\napp = host=127.0.0.1 port=5432 dbname=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = 6432\nauth_type = trust\nauth_file = {}\nunix_socket_dir =\npool_mode = session\n\
             default_pool_size = {POOL}\nmax_client_conn = 100\n",
            users.display()
        );
        fs::write(&ini, settings).unwrap();
        let mut pgbouncer = as_nobody(Path::new("/usr/sbin/pgbouncer"));
        site.run(pgbouncer.arg(&ini))?;
        let listens = poll(PATIENCE, || std::net::TcpStream::connect("127.0.0.1:6432").is_ok());
        assert!(listens, "PgBouncer doesn't listen");
        Ok(site)
    }

    fn run(&mut self, command: &mut Command) -> Result<(), String> {
        let daemon = quiet(command, self).spawn().map_err(|why| format!("{command:?}: {why}"))?;
        self.daemons.push(Started(daemon));
        Ok(())
    }

    fn sql(&self, text: &str) -> std::process::ExitStatus {
        let mut psql = Command::new("psql");
        psql.args(["-h", "127.0.0.1", "-p", "5432", "-U", "postgres", "-qXc", text]);
        quiet(&mut psql, self).status().unwrap()
    }

    /// A tenant's processes, each with a connection through PgBouncer that it doesn't let go.
    fn clients(&self, user: &str, uid: &str, count: usize) -> Vec<Client> {
        let client = |_| {
            let mut psql = Command::new("setpriv");
            psql.args(["--reuid", uid, "--regid", "65534", "--clear-groups", "psql"]);
            psql.args(["-h", "127.0.0.1", "-p", "6432", "-U", user, "-qX", "app"]);
            let child = quiet(&mut psql, self).stdin(Stdio::piped()).spawn().unwrap();
            // With its first query it gets a server connection, as far as there are any.
            (&mut child.stdin.as_ref().unwrap()).write_all(b"select 1;\n").unwrap();
            Client(child)
        };
        (0..count).map(client).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // PgBouncer first; then PostgreSQL at once, so that its workers don't outlive the directory.
        for mut daemon in self.daemons.drain(..).rev() {
            let pid = rustix::process::Pid::from_child(&daemon.0);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
            finish(&mut daemon.0, PATIENCE);
        }
    }
}

/// One psql; it ends when its input does.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn quiet<'a>(command: &'a mut Command, site: &Site) -> &'a mut Command {
    command.current_dir(site.dir.path()).env("HOME", site.dir.path()).env("PGCONNECT_TIMEOUT", "120");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path().join("bin"));
    versions.filter(|bin| bin.join("postgres").exists()).max()
}

fn look(more: &[&str]) -> Outcome {
    TENANTS.run(more)
}

#[test]
fn the_tenant_that_leaks_is_named_and_the_other_is_not() {
    Lab::test(|lab| {
        let site = match Site::start() {
            Ok(site) => site,
            Err(why) => return lab.skip(&why),
        };
        let users = ["64001", "64002"];
        let _bob = site.clients("bob", users[1], 4);
        // Through PgBouncer, from either end; the command line names them too.
        let by = |key: &'static str, side: &'static str| {
            look(&["-P", "pgbouncer", "--limit=40", "--side", side, "--key", key])
        };
        for _ in 0..2 {
            let few = site.clients("alice", users[0], 5);
            lab.wait_for(ESTABLISHED, 6432, 2 * 9);
            let calm = by("user", "both");
            assert_eq!((calm.code, calm.value("connections")), (0, 9.0), "{calm:?}");
            let more = site.clients("alice", users[0], 19);
            lab.wait_for(ESTABLISHED, 6432, 2 * 28);
            for (key, alice, bob) in [("user", users[0], users[1]), ("cmd:-U (\\w+)", "alice", "bob")] {
                for side in ["server", "client", "both"] {
                    let found = by(key, side);
                    assert_eq!((found.code, found.value("share_max")), (1, 60.0), "{found:?}");
                    let text = found.text();
                    assert!(
                        text.contains(&format!("tenant {alice}: 24 connections, 60% of limit 40 (warning 50)")),
                        "{text}"
                    );
                    assert!(!text.contains(&format!("tenant {bob}")) && !text.contains(" and "), "{text}");
                    assert_eq!((found.value("tenants"), found.value("unknown")), (2.0, 0.0), "{found:?}");
                }
            }
            both_sides_of_the_pooler(lab);
            drop((few, more));
            lab.wait_for(ESTABLISHED, 6432, 2 * 4);
            assert_eq!(by("user", "both").code, 0);
        }
    });
}

/// What PgBouncer holds on its two sides, asked at either port.
fn both_sides_of_the_pooler(lab: &Lab) {
    lab.wait_for(ESTABLISHED, 5432, 2 * 2 * POOL as usize);
    for args in [["-p6432", "--key=user"], ["-p5432", "--key=user"]] {
        let json = look(&[&args[..], &["-ojson"]].concat()).json();
        let poolers = json["poolers"].as_array().unwrap();
        assert_eq!(poolers.len(), 1, "{json}");
        let of = |side: &str| poolers[0][side]["connections"].as_u64();
        assert_eq!(
            (poolers[0]["command"].as_str(), of("client_side"), of("server_side")),
            (Some("pgbouncer"), Some(28), Some(2 * POOL)),
            "{json}"
        );
    }
    // To the database all come from the pooler, which is no tenant; PostgreSQL's workers say for whom.
    let pooled = look(&["-p5432", "--key=user"]);
    assert_eq!(
        (pooled.code, pooled.value("pooled"), pooled.value("tenants")),
        (0, 2.0 * POOL as f64, 0.0),
        "{pooled:?}"
    );
    assert!(pooled.text().contains("28 with clients, 6 with servers"), "{pooled:?}");
    let workers = look(&["-p5432", "--key=cmd:^postgres: (\\w+) "]);
    assert_eq!((workers.value("tenant_alice"), workers.value("tenant_bob")), (3.09, 3.09), "{workers:?}");
    assert_eq!(workers.value("pooled"), 0.0, "{workers:?}");
}

/// max_client_conn is no limit of what PgBouncer has with PostgreSQL.
#[test]
fn the_pool_behind_pgbouncer_is_not_judged_by_the_limit_of_its_clients() {
    Lab::test(|lab| {
        let site = match Site::start() {
            Ok(site) => site,
            Err(why) => return lab.skip(&why),
        };
        let _clients = [site.clients("alice", "64001", 5), site.clients("bob", "64002", 5)];
        lab.wait_for(ESTABLISHED, 5432, 2 * 2 * POOL as usize);
        let state = tempfile::tempdir().unwrap();
        let grows = |more: &[&str]| {
            let args = ["-P", "pgbouncer", "-v", "--state-dir", state.path().to_str().unwrap()];
            let found = GROWTH.run(&[&args, more].concat());
            (found.code, found.value("connections"), found.value("limit"), found.stdout.clone())
        };
        let (code, connections, limit, clients) = grows(&[]);
        assert_eq!((code, connections, limit), (0, 10.0, 100.0), "{clients}");
        assert!(clients.contains("20 connections with the servers behind it of each user and database"), "{clients}");
        assert!(clients.contains(": in session mode as many clients are served at a time"), "{clients}");
        let behind = ["-p5432", "--side=client"];
        let (code, connections, limit, servers) = grows(&behind);
        assert_eq!((code, connections), (0, 2.0 * POOL as f64), "{servers}");
        assert!(limit > 100.0 && servers.contains("open files of pgbouncer["), "{servers}");
        // Full by design.
        let (code, _, limit, bounded) = grows(&[&behind[..], &["--limit=6"]].concat());
        assert_eq!((code, limit), (0, 6.0), "{bounded}");
    });
}
