//! A healthy pool at an idle moment, whose real server has closed what it keeps: no CRITICAL of a few.

use crate::integrations::python::{prepare_python, python};
use crate::lab::run::{CLOSEWAIT, PATIENCE, Started, TENANTS, as_nobody, poll};
use crate::lab::{CLOSE_WAIT, Lab};
use crate::sessions::pasted::Application;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// Five connections that work all the time (subscribers, which Redis' timeout spares), and a pool at rest, which reads
/// how many to have.
const APPLICATION: &str = "
import redis, sys
client = redis.Redis()
busy = [client.pubsub() for _ in range(5)]
for each in busy:
    each.subscribe('a')
print('ready', flush=True)
pool = []
for line in sys.stdin:
    pool += [client.connection_pool.get_connection() for _ in range(int(line))]
    print('done', flush=True)
";

#[test]
fn what_redis_closed_of_a_pool_at_rest_is_judged_by_the_whole_pool() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        if Command::new("redis-server").arg("-v").stdout(Stdio::null()).status().is_err() {
            return lab.skip("redis-server is not installed");
        }
        let mut command = as_nobody(Path::new("redis-server"));
        command.args(["--port", "6379", "--bind", "127.0.0.1", "--save", "", "--timeout", "1"]);
        let _redis = Started(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        assert!(poll(PATIENCE, || TcpStream::connect("127.0.0.1:6379").is_ok()), "redis-server listens");
        let mut application = Application::start(&python, APPLICATION);
        let mut have = |count: u32, all: usize| {
            application.tell(&count.to_string());
            lab.wait_for(CLOSE_WAIT, 6379, all);
        };
        let look = |more: &[&str]| CLOSEWAIT.run(&[&["-p6379", "--side=client", "--min-age=0s"], more].concat());
        have(6, 6);
        // 120 % of the 5 that are ESTABLISHED, 55 % of the 11 that were.
        let found = look(&[]);
        assert_eq!((found.code, found.value("close_wait"), found.value("established")), (1, 6.0, 5.0), "{found:?}");
        assert_eq!(found.value("close_wait_ratio"), 54.55, "{found:?}");
        assert!(found.text().contains("54.55% of 11 connections (warning "), "{found:?}");
        let spared = look(&["--expected=6"]);
        assert_eq!((spared.code, spared.value("close_wait"), spared.value("spares")), (0, 0.0, 6.0), "{spared:?}");
        // A tenant's pool keeps them likewise, and its address is no tenant's.
        let tenants = |key: &str, more: &[&str]| {
            TENANTS.run(&[&["-p6379", "--side=client", "--close-wait-age=0s", key], more].concat())
        };
        for key in ["--key=peer", "--key=user"] {
            let found = tenants(key, &["--close-wait-warning=5"]);
            assert!(found.code == 1 && found.text().contains("6 in CLOSE_WAIT for 0s or more"), "{found:?}");
            assert_eq!(tenants(key, &["--expected=5", "--close-wait-warning=0"]).value("close_wait_max"), 1.0);
            let spared = tenants(key, &["--expected=6"]);
            assert_eq!((spared.code, spared.value("close_wait_max")), (0, 0.0), "{spared:?}");
        }
        // More than the pool may keep, and more than the count allows.
        have(60, 66);
        let leaked = look(&["--expected=6"]);
        assert_eq!((leaked.code, leaked.value("close_wait"), leaked.value("spares")), (2, 60.0, 6.0), "{leaked:?}");
        assert!(leaked.text().contains("60 sockets in CLOSE_WAIT beyond 6 spares (critical 50)"), "{leaked:?}");
        let leaked = tenants("--key=user", &["--expected=6"]);
        assert_eq!(leaked.code, 2, "{leaked:?}");
        assert!(leaked.text().contains("60 in CLOSE_WAIT for 0s or more beyond 6 spares (critical "), "{leaked:?}");
    });
}
