//! Real servers and their clients over UNIX sockets: healthy, a client killed while the server works, a server that
//! closes on its client, a full queue.

use super::unix_sockets::Place;
use crate::lab::Lab;
use crate::lab::run::{GROWTH, PATIENCE, STATES, Started, TENANTS, check, finish, poll};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

fn start(lab: &Lab, mut command: Command) -> Option<Started> {
    match quiet(&mut command).spawn() {
        Ok(process) => Some(Started(process)),
        Err(why) => {
            lab.skip(&format!("{command:?}: {why}"));
            None
        }
    }
}

/// Until somebody accepts connections there.
fn wait_for(path: &str) {
    assert!(poll(PATIENCE, || UnixStream::connect(path).is_ok()), "nobody listens on {path}");
}

/// One look with a memory, at all that is closed.
struct Look<'a> {
    place: &'a Place,
    options: Vec<String>,
}

impl<'a> Look<'a> {
    fn new(place: &'a Place, options: &[&str]) -> Look<'a> {
        Look { place, options: options.iter().map(|option| (*option).to_owned()).collect() }
    }

    fn counts(&self) -> [f64; 2] {
        let state = self.place.at("state");
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let outcome = check(&[&options[..], &["--min-age=0s", "-w0", "-c1000", "--state-dir", &state]].concat());
        ["close_wait", "established"].map(|label| outcome.value(label))
    }

    fn reaches(&self, wanted: [f64; 2]) {
        let mut seen = [0.0; 2];
        let reached = poll(PATIENCE, || {
            seen = self.counts();
            seen == wanted
        });
        assert!(reached, "{seen:?}, wanted {wanted:?}");
    }
}

/// Looks again and again while the pool works: ten minutes of check_conn_growth's time, and each look of the others.
fn stays_calm(place: &Place, of: &[&str], mut work: impl FnMut()) {
    const SPEED: &str = "--rehearse=240";
    let state = place.at("calm");
    for _ in 0..26 {
        work();
        sleep(Duration::from_millis(100));
        let memory = ["--state-dir", state.as_str()];
        for outcome in [
            GROWTH.run(&[of, &memory, &["--limit=100", SPEED]].concat()),
            TENANTS.run(&[of, &memory, &["--limit=100", "--key=user"]].concat()),
            check(&[of, &memory].concat()),
            STATES.run(of),
        ] {
            assert_eq!(outcome.code, 0, "{outcome:?}");
        }
    }
    let begun = GROWTH.run(&[of, &["--limit=100", SPEED, "--state-dir", &state]].concat());
    assert!(begun.code == 0 && !begun.text().contains("learning"), "{begun:?}");
}

/// The command line client with a connection that it keeps: what it is told comes by its input.
struct Client(Child);

impl Client {
    fn start(program: &str, args: &[&str], uid: u32) -> Client {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &uid.to_string(), "--regid", &uid.to_string(), "--clear-groups", program]).args(args);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).env("HOME", "/").spawn();
        Client(child.unwrap())
    }

    fn say(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mariadb(lab: &Lab, place: &Place, path: &str) -> Option<Started> {
    fs::set_permissions(place.at("."), Permissions::from_mode(0o755)).unwrap();
    let data = place.at("data");
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--user=root", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    match quiet(install.arg(format!("--datadir={data}"))).status() {
        Ok(status) => assert!(status.success(), "mariadb-install-db: {status}"),
        Err(why) => {
            lab.skip(&format!("mariadb-install-db: {why}"));
            return None;
        }
    }
    let mut server = Command::new("mariadbd");
    server.args([
        "--no-defaults",
        "--user=root",
        "--skip-networking",
        "--skip-grant-tables",
        "--innodb-fast-shutdown=2",
    ]);
    server.args([format!("--datadir={data}"), format!("--socket={path}"), format!("--pid-file={data}/pid")]);
    let server = start(lab, server)?;
    wait_for(path);
    Some(server)
}

#[test]
fn mariadb_that_works_for_a_killed_client_and_its_tenants() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("mysqld.sock");
        let Some(server) = mariadb(lab, &place, &path) else { return };
        let look = Look::new(&place, &["-P", "mysql", "--unix", &path]);
        look.reaches([0.0, 0.0]);
        let options = ["--no-defaults", "-S", &path, "-n", "--force"];
        let mut clients: Vec<Client> = (0..5).map(|_| Client::start("mariadb", &options, 4001)).collect();
        let modest = Client::start("mariadb", &options, 4002);
        look.reaches([0.0, 12.0]);
        stays_calm(&place, &["-P", "mysql", "--unix", &path], || {
            clients.iter_mut().for_each(|one| one.say("select 1;"))
        });
        // A query that computes doesn't look at its socket.
        let compute = "select benchmark(5000000, md5('x'));";
        for _ in 0..2 {
            clients[0].say(compute);
            sleep(Duration::from_millis(500));
            clients.remove(0);
            look.reaches([1.0, 10.0]);
            let named = check(&["--unix", &path, "--min-age=0s", "-w0", "-v"]);
            assert!(named.text().contains(&format!("held by mariadbd[{}]", server.0.id())), "{named:?}");
            // It sees that nobody is there once it has done.
            look.reaches([0.0, 10.0]);
            clients.push(Client::start("mariadb", &options, 4001));
            look.reaches([0.0, 12.0]);
        }
        for _ in 0..2 {
            let of = ["-P", "mysql", "--unix", &path, "--key=user", "--limit=6"];
            let eaten = TENANTS.unprivileged(&of);
            assert!(
                eaten.code == 2 && eaten.text().contains("tenant 4001: 5 connections, 83.33% of limit 6"),
                "{eaten:?}"
            );
            clients.truncate(2);
            look.reaches([0.0, 6.0]);
            let clear = TENANTS.unprivileged(&of);
            assert!(clear.code == 0 && clear.text().contains("largest tenant 4001: 2 connections"), "{clear:?}");
            clients.extend((0..3).map(|_| Client::start("mariadb", &options, 4001)));
            look.reaches([0.0, 12.0]);
        }
        drop(modest);
    });
}

#[test]
fn redis_that_closes_on_a_client_that_keeps_the_connection() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("redis.sock");
        let mut server = Command::new("redis-server");
        server.args(["--port", "0", "--save", "", "--dir", &place.at("."), "--unixsocket", &path]);
        let Some(_server) = start(lab, server) else { return };
        wait_for(&path);
        let look = Look::new(&place, &["-P", "redis", "--unix", &path]);
        let options = ["-s", path.as_str()];
        let mut clients: Vec<Client> = (0..4).map(|_| Client::start("redis-cli", &options, 0)).collect();
        clients.iter_mut().for_each(|one| one.say("ping"));
        look.reaches([0.0, 8.0]);
        stays_calm(&place, &["-P", "redis", "--unix", &path], || clients.iter_mut().for_each(|one| one.say("ping")));
        drop(clients);
        look.reaches([0.0, 0.0]);
        let mut pool = lab.peer();
        for _ in 0..2 {
            pool.say(&format!("connect c {path} 10"));
            look.reaches([0.0, 20.0]);
            let kill =
                quiet(Command::new("redis-cli").args(["-s", &path, "client", "kill", "type", "normal"])).status();
            assert!(kill.is_ok_and(|status| status.success()));
            look.reaches([10.0, 0.0]);
            let sides = check(&["--unix", &path, "--min-age=0s", "-w0", "--state-dir", &place.at("state")]);
            assert!(sides.text().contains("10 client sockets"), "{sides:?}");
            pool.say("close c");
            look.reaches([0.0, 0.0]);
        }
    });
}

#[test]
fn postgresql_that_works_for_a_killed_client() {
    Lab::test(|lab| {
        let Some(server) = crate::postgres::Postgres::start(lab, 5432) else { return };
        let place = Place::new();
        let dir = server.socket_dir().to_str().unwrap().to_owned();
        let path = format!("{dir}/.s.PGSQL.5432");
        // By TCP there is nobody: both are judged.
        let profile = place.at("postgresql.yaml");
        fs::write(&profile, format!("service: postgresql\nports: [5432]\nunix: [{path}]\n")).unwrap();
        let look = Look::new(&place, &["-P", &profile]);
        let options = ["-h", &dir, "-U", "postgres", "-q"];
        let mut clients: Vec<Client> = (0..4).map(|_| Client::start("psql", &options, 0)).collect();
        look.reaches([0.0, 8.0]);
        stays_calm(&place, &["-P", &profile], || clients.iter_mut().for_each(|one| one.say("select 1;")));
        for _ in 0..2 {
            clients[0].say("select pg_sleep(600);");
            sleep(Duration::from_millis(500));
            clients.remove(0);
            look.reaches([1.0, 6.0]);
            let mut kill = Client::start("psql", &options, 0);
            kill.say("select pg_terminate_backend(pid) from pg_stat_activity where query like 'select pg_sleep%';");
            drop(kill.0.stdin.take());
            finish(&mut kill.0, PATIENCE);
            drop(kill);
            look.reaches([0.0, 6.0]);
            clients.push(Client::start("psql", &options, 0));
            look.reaches([0.0, 8.0]);
        }
    });
}

/// One worker and a short queue: what doesn't find place is "Resource temporarily unavailable", 502.
#[test]
fn php_fpm_behind_nginx_with_a_full_queue() {
    Lab::test(|lab| {
        let place = Place::new();
        fs::set_permissions(place.at("."), Permissions::from_mode(0o755)).unwrap();
        let (path, root) = (place.at("php.sock"), place.at("."));
        fs::write(place.at("slow.php"), "<?php usleep(300000);").unwrap();
        let pool = "[global]\ndaemonize = no\nerror_log = /dev/null\n[www]\nuser = nobody\ngroup = nogroup\n\
            pm = static\npm.max_children = 1\nlisten.backlog = 4\nlisten.mode = 0666\n";
        fs::write(place.at("fpm.conf"), format!("{pool}listen = {path}\n")).unwrap();
        let parameters = format!("fastcgi_param SCRIPT_FILENAME {root}/slow.php; fastcgi_param REQUEST_METHOD GET;");
        let nginx = format!(
            "daemon off; error_log stderr; pid {root}/pid; user nobody nogroup; events {{}}\n\
             http {{ access_log off; client_body_temp_path {root}/b; fastcgi_temp_path {root}/f; proxy_temp_path {root}/p;\n\
             server {{ listen 127.0.0.1:8080; location / {{ fastcgi_pass unix:{path}; {parameters} }} }} }}\n"
        );
        fs::write(place.at("nginx.conf"), nginx).unwrap();
        let programs = ["/usr/sbin/php-fpm8.2", "/usr/sbin/nginx"];
        if let Some(missing) = programs.iter().find(|program| !Path::new(program).exists()) {
            return lab.skip(&format!("{missing} is not installed"));
        }
        let mut fpm = Command::new(programs[0]);
        fpm.args(["-n", "-y", &place.at("fpm.conf")]);
        let Some(_fpm) = start(lab, fpm) else { return };
        wait_for(&path);
        let mut web = Command::new(programs[1]);
        web.args(["-c", &place.at("nginx.conf"), "-e", "/dev/null"]);
        let Some(_web) = start(lab, web) else { return };
        assert!(poll(PATIENCE, || TcpStream::connect("127.0.0.1:8080").is_ok()));
        let look = || STATES.run(&["-P", "php-fpm", "--unix", &path]);
        let calm = || poll(PATIENCE, || look().code == 0);
        assert!(calm(), "{:?}", look());
        stays_calm(&place, &["-P", "php-fpm", "--unix", &path], || {
            let mut request = TcpStream::connect("127.0.0.1:8080").unwrap();
            request.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            request.read_to_end(&mut Vec::new()).unwrap();
        });
        for _ in 0..2 {
            let request = |_| {
                let mut request = TcpStream::connect("127.0.0.1:8080").unwrap();
                request.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
                request
            };
            let requests: Vec<TcpStream> = (0..12).map(request).collect();
            let mut last = None;
            let full = poll(PATIENCE, || {
                let outcome = look();
                let is_full = outcome.code == 2 && outcome.text().contains(&format!("accept queue of {path}"));
                last = Some(outcome);
                is_full
            });
            assert!(full, "{last:?}");
            let last = last.unwrap();
            assert!(last.text().contains("php-fpm"), "{last:?}");
            drop(requests);
            assert!(calm(), "{:?}", look());
        }
    });
}
