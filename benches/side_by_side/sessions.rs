//! `connleak sessions` on the lists that a service with so many sessions would print.

use crate::Result;
use crate::contest::Contestant;
use crate::scene::PORT;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

pub const SESSIONS: u32 = 10_000;

/// As long as an ORM's statement.
const STATEMENT: usize = 500;

/// One contestant for each list, made of what the kernel has of the scene's service.
pub fn contestants(bin: &Path, dir: &Path) -> Result<Vec<Contestant>> {
    let connleak = bin.join("connleak");
    let who = ["who", &format!("-p{PORT}"), "--side=server", "-ocsv", "--sockets", "--top=0", "--no-ghosts"];
    let told = String::from_utf8(Command::new(&connleak).args(who).output()?.stdout)?;
    let mut lines = told.lines();
    let header: Vec<&str> = lines.next().ok_or("no header")?.split(',').collect();
    let place = |name: &str| header.iter().position(|column| *column == name).ok_or(format!("no column {name}"));
    let (remote, state, fd, pid) = (place("remote")?, place("state")?, place("fd")?, place("pid")?);
    let mut conns = String::new();
    let mut activity = "pid,client_addr,client_port,usename,datname,state,xact_age,state_age,query\n".to_owned();
    let statement = "SELECT \"a\".\"id\", \"a\".\"name\" FROM orders\n".replace('"', "\"\"").repeat(STATEMENT / 40);
    for row in lines.map(|line| line.split(',').collect::<Vec<_>>()).filter(|row| row[state] == "ESTABLISHED") {
        let (address, port) = row[remote].rsplit_once(':').ok_or("no port")?;
        let (fd, pid, remote) = (row[fd], row[pid], row[remote]);
        write!(conns, "STAT {fd}:addr tcp:{remote}\r\nSTAT {fd}:listen_addr tcp:127.0.0.1:{PORT}\r\n")?;
        write!(conns, "STAT {fd}:state conn_read\r\nSTAT {fd}:secs_since_last_cmd 77\r\n")?;
        writeln!(activity, "{pid},{address},{port},shop,orders,idle in transaction,77,77,\"{statement}\"")?;
    }
    conns.push_str("END\r\n");
    let lists = [("stats conns", "memcached", conns), ("pg_stat_activity, 500 bytes each", "postgresql", activity)];
    let mut all = Vec::new();
    for (name, profile, list) in lists {
        let file = dir.join(profile);
        std::fs::write(&file, list)?;
        let words = ["sessions", &format!("-p{PORT}"), "-P", profile, &file.to_string_lossy()];
        let of = |how: &str, more: &[&str]| {
            Contestant::of(&format!("connleak sessions, {name}{how}"), &connleak, &[&words, more].concat())
        };
        let json = of(", all as JSON", &["--top=0", "-ojson"]);
        let told = json.output()?;
        if !told.contains(&format!("\"joined\":{SESSIONS},")) {
            return Err(format!("not all were joined: {}", &told[told.len().saturating_sub(300)..]).into());
        }
        all.extend([of("", &[]), json]);
    }
    Ok(all)
}
