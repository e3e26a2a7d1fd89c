//! `--unix` in each check: what can be no service's socket.

use crate::suite::{CLOSEWAIT, Check, GROWTH, IDLE, ORPHANS, STATES, TENANTS};
use crate::words;

const CHECKS: [Check; 6] = [CLOSEWAIT, GROWTH, IDLE, ORPHANS, STATES, TENANTS];

#[test]
fn what_is_no_socket_is_refused_by_every_check() {
    let relative = "give its whole path, as /run/mysqld/mysqld.sock, or @name";
    let cases: &[(&str, &[&str])] = &[
        ("--unix x.sock", &["--unix", "'x.sock'", relative]),
        ("--unix ./x.sock", &["--unix", "'./x.sock'", relative]),
        ("--unix run/*.sock", &["--unix", "'run/*.sock'", relative]),
        ("--unix ''", &["--unix", "''", relative]),
        ("--unix /", &["--unix", "'/'", relative]),
        ("--unix @", &["--unix", "'@'", relative]),
        ("--unix /etc/passwd", &["--unix /etc/passwd", "a file and no socket"]),
        ("--unix /etc", &["--unix /etc", "a directory and no socket"]),
        ("--unix /run/x --peer 10.0.0.0/8", &["--unix", "no addresses", "--peer"]),
        ("--unix /run/x --local 10.0.0.0/8", &["--unix", "no addresses", "--local"]),
        ("--unix /run/mysqld/mysqld.sock --unix /run/php/a.sock", &["/run/php/a.sock is php-fpm's", "-P"]),
    ];
    // As long as any name may be, and longer by one byte, by characters of several, by much.
    let long = [108, 109, 4096].map(|bytes| format!("/{}", "x".repeat(bytes - 1)));
    let wide = format!("/{}", "ä".repeat(54));
    for check in CHECKS {
        check.all_refused(&cases.iter().map(|(line, says)| (words(line), *says)).collect::<Vec<_>>());
        for path in long.iter().chain([&wide]) {
            let says = format!("{} bytes, no socket's name has more than 107", path.len());
            check.all_refused(&[(vec!["--unix".to_owned(), path.clone()], &["--unix", &says][..])]);
        }
    }
}
