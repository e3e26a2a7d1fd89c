//! Names with their values on one line: Redis' CLIENT LIST, memcached's `stats conns`.

use super::Printed;

/// What is read of Redis' list; a client's name may have anything but blanks.
const REDIS: [&str; 11] = ["id", "addr", "laddr", "fd", "name", "age", "idle", "flags", "db", "multi", "cmd"];

/// `id=4 addr=127.0.0.1:50014 laddr=127.0.0.1:6379 fd=8 name= age=0 …`, a line for each.
pub fn redis(text: &str) -> Result<Printed, String> {
    let mut list = Printed::new(REDIS.into_iter().chain(["user"]));
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let value = |name: &str| line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let needed = ["id", "addr", "fd", "idle", "cmd"];
        if let Some(missing) = needed.iter().find(|name| value(name).is_none()) {
            return Err(format!("line {}: no '{missing}=': the list is cut, or not Redis' CLIENT LIST", index + 1));
        }
        let cells = list.columns.iter().map(|name| value(name).unwrap_or("").to_owned()).collect();
        list.add(index + 1, cells)?;
    }
    Ok(list)
}

/// `STAT 27:addr tcp:127.0.0.1:33386`, a line for each value of each descriptor, then `END`.
pub fn memcached(text: &str) -> Result<Printed, String> {
    let names = ["fd", "addr", "listen_addr", "state", "secs_since_last_cmd"];
    let mut list = Printed::new(names);
    let mut row: Option<(usize, Vec<String>)> = None;
    let mut has_ended = false;
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        if has_ended {
            return Err(format!("line {number}: more after END: give one list only"));
        }
        has_ended = line == "END";
        if has_ended {
            continue;
        }
        let stat = line.strip_prefix("STAT ").and_then(|rest| rest.split_once(' '));
        let Some(((fd, name), value)) = stat.and_then(|(key, value)| Some((key.split_once(':')?, value))) else {
            return Err(format!("line {number}: not 'STAT FD:NAME VALUE', as 'stats conns' has it"));
        };
        match &row {
            Some((_, cells)) if cells[0] == fd => {}
            _ => {
                row.take().map_or(Ok(()), |(line, cells)| list.add(line, cells))?;
                let mut cells = vec![String::new(); names.len()];
                fd.clone_into(&mut cells[0]);
                row = Some((number, cells));
            }
        }
        let place = names.iter().position(|known| *known == name);
        if let (Some(place), Some((_, cells))) = (place, &mut row) {
            value.clone_into(&mut cells[place]);
        }
    }
    row.map_or(Ok(()), |(line, cells)| list.add(line, cells))?;
    if has_ended { Ok(list) } else { Err("no END: the list is cut".to_owned()) }
}
