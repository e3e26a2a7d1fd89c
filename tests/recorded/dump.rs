//! A look as the raw netlink dump that `--replay` reads, as the kernel would have sent it.
//!
//! Layouts: include/uapi/linux/{netlink,inet_diag,tcp}.h.

use crate::reading::{Look, Row};
use std::net::IpAddr;

const BY_FAMILY: u16 = 20;
const DONE: u16 = 3;
const INET_DIAG_INFO: u16 = 2;
/// As long as what Linux 6.18 sends.
const TCP_INFO: usize = 248;
/// Moments in the recording, ages in `struct tcp_info`.
const AGES: [(char, usize); 3] = [('d', 44), ('v', 52), ('a', 56)];
const U32: [(char, usize); 6] = [('R', 8), ('u', 24), ('N', 144), ('i', 152), ('o', 156), ('W', 228)];
const U64: [(char, usize); 4] = [('A', 120), ('V', 128), ('S', 200), ('T', 208)];

/// Both families, each with its end.
pub fn of(look: &Look) -> Vec<u8> {
    let mut dump = Vec::new();
    for is_v6 in [false, true] {
        for (number, row) in &look.sockets {
            let ends = Ends::of(row);
            if ends.is_v6 == is_v6 {
                message(&mut dump, BY_FAMILY, &socket(look.at, *number, row, &ends));
            }
        }
        message(&mut dump, DONE, &[0; 4]);
    }
    dump
}

struct Ends {
    is_v6: bool,
    ips: [[u8; 16]; 2],
    ports: [u16; 2],
    uid: u32,
}

impl Ends {
    fn of(row: &Row) -> Ends {
        let words: Vec<&str> = row.ends.split(' ').collect();
        let ip = |at: usize| words[at].parse::<IpAddr>().unwrap();
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => [&ip.octets()[..], &[0; 12]].concat().try_into().unwrap(),
            IpAddr::V6(ip) => ip.octets(),
        };
        Ends {
            is_v6: ip(0).is_ipv6(),
            ips: [octets(ip(0)), octets(ip(2))],
            ports: [words[1].parse().unwrap(), words[3].parse().unwrap()],
            uid: words[4].parse().unwrap(),
        }
    }
}

/// `struct inet_diag_msg` with its attribute.
fn socket(now: i64, number: u64, row: &Row, ends: &Ends) -> Vec<u8> {
    let (family, state, timer) = (if ends.is_v6 { 10 } else { 2 }, row.get('s') as u8, row.get('t') as u8);
    let mut body = vec![family, state, timer, 0];
    ends.ports.iter().for_each(|port| body.extend(port.to_be_bytes()));
    ends.ips.iter().for_each(|ip| body.extend(ip));
    body.extend(0u32.to_ne_bytes());
    body.extend(number.to_ne_bytes());
    let rest = if timer == 0 { 0 } else { row.get('e') - now };
    for value in [rest, row.get('r'), row.get('w'), i64::from(ends.uid), row.get('I')] {
        body.extend((value.max(0) as u32).to_ne_bytes());
    }
    // TIME_WAIT and half-open rows have none.
    if row.values.contains_key(&'d') {
        let mut info = [0; TCP_INFO];
        info[4] = row.get('b') as u8;
        AGES.iter()
            .for_each(|(letter, at)| put(&mut info, *at, &((now - row.get(*letter)).max(0) as u32).to_ne_bytes()));
        U32.iter().for_each(|(letter, at)| put(&mut info, *at, &(row.get(*letter) as u32).to_ne_bytes()));
        U64.iter().for_each(|(letter, at)| put(&mut info, *at, &(row.get(*letter) as u64).to_ne_bytes()));
        body.extend((4 + TCP_INFO as u16).to_ne_bytes());
        body.extend(INET_DIAG_INFO.to_ne_bytes());
        body.extend(info);
    }
    body
}

fn put(info: &mut [u8], at: usize, value: &[u8]) {
    info[at..at + value.len()].copy_from_slice(value);
}

fn message(dump: &mut Vec<u8>, kind: u16, body: &[u8]) {
    dump.extend((16 + body.len() as u32).to_ne_bytes());
    dump.extend(kind.to_ne_bytes());
    dump.extend(2u16.to_ne_bytes());
    dump.extend([0; 8]);
    dump.extend(body);
}
