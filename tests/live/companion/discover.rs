//! connleak discover: what listens, whose it is, which profile fits, what is watched.

use crate::companion::run::{any, connleak};
use crate::host::unit::Service;
use crate::lab::Lab;
use crate::lab::run::{CONNLEAK, GROWTH, as_nobody, public_copy, run, unique};
use serde_json::Value;
use std::path::Path;

fn discover(args: &[&str]) -> Value {
    serde_json::from_str(&connleak(&[&["discover", "-ojson"], args].concat())).unwrap()
}

/// The listener of a port or path.
fn at(found: &Value, place: &str) -> Value {
    let port: Option<u64> = place.parse().ok();
    let is_it = |one: &&Value| (port.is_some() && one["port"].as_u64() == port) || one["path"] == place;
    let mut them = found["listeners"].as_array().unwrap().iter().filter(is_it);
    let one = them.next().unwrap_or_else(|| panic!("nothing at {place}: {found:#}")).clone();
    assert!(them.next().is_none(), "{place} twice: {found:#}");
    one
}

fn hex(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn listeners_are_told_with_owner_profile_and_whether_they_are_watched() {
    Lab::test(|lab| {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state").display().to_string();
        let (mut database, mut cache, mut other) = (lab.peer(), lab.peer(), lab.peer());
        let id = unique().repeat(5) + "cdef";
        let Some(container) = Service::named(lab, &format!("libpod-{id}.scope")) else { return };
        container.take(&database);
        database.say(&format!("rename {}", hex("mariadbd")));
        database.say("listen a 127.0.0.1:3307");
        database.say("listen b [::1]:3307");
        let path = dir.path().join("db.sock").display().to_string();
        database.say(&format!("listen u {path}"));
        cache.say("mptcp");
        cache.say("listen l 127.0.0.1:11211");
        other.say("listen l 127.0.0.1:4711");
        GROWTH.run(&["-p11211", "--state-dir", &state]);

        let found = discover(&["--state-dir", &state]);
        assert_eq!(found["complete"]["owners"], true, "{found:#}");
        let one = at(&found, "3307");
        assert_eq!(one["addresses"], serde_json::json!(["127.0.0.1", "::1"]), "{one:#}");
        let told = |one: &Value, key: &str, wanted: Value| assert_eq!(one[key], wanted, "{key} of {one:#}");
        for (key, wanted) in [
            ("protocol", "tcp".into()),
            ("pid", database.pid().into()),
            ("command", "mariadbd".into()),
            ("container", id[..12].into()),
            ("user", "root".into()),
            ("profile", "mysql".into()),
            ("fits_by", "program".into()),
            ("watched", false.into()),
        ] {
            told(&one, key, wanted);
        }
        let unix = at(&found, &path);
        told(&unix, "protocol", "unix".into());
        told(&unix, "profile", "mysql".into());
        let one = at(&found, "11211");
        for (key, wanted) in
            [("protocol", "mptcp".into()), ("fits_by", "port".into()), ("watched", true.into()), ("unit", Value::Null)]
        {
            // The test's own unit, if it has one.
            if key != "unit" {
                told(&one, key, wanted);
            }
        }
        let one = at(&found, "4711");
        told(&one, "profile", Value::Null);
        told(&one, "watched", false.into());
        let names: Vec<_> = found["services"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        assert_eq!(names, ["memcached".to_owned(), format!("mysql:{path}"), "mysql:3307".to_owned()]);
        let all = discover(&["--state-dir", &state, "--all"]);
        assert_eq!(all["services"].as_array().unwrap().len(), 4, "{all:#}");

        let table = connleak(&["discover", "--state-dir", &state]);
        assert!(table.contains("not watched: mysql:3307; try check_closewait -P mysql -p 3307\n"), "{table}");
        assert!(!table.contains("not watched: memcached"), "{table}");
        let zabbix: Value = serde_json::from_str(&connleak(&["discover", "-ozabbix", "--state-dir", &state])).unwrap();
        assert_eq!(zabbix[2]["{#CONNLEAK.OPTIONS}"], "-P mysql -p 3307", "{zabbix:#}");

        // By the profile's program beside its port a check follows both.
        GROWTH.run(&["-Pmysql", "-p3307", "--state-dir", &state]);
        assert_eq!(at(&discover(&["--state-dir", &state]), "3307")["watched"], true);

        // Listeners of other namespaces have their own.
        lab.in_another(|lab| {
            let mut inside = lab.peer();
            inside.say("listen l 127.0.0.1:6379");
            let found = discover(&["--netns=all", "--state-dir", &state]);
            told(&at(&found, "6379"), "profile", "redis".into());
            told(&at(&found, "11211"), "watched", false.into());
            let mut services = found["services"].as_array().unwrap().iter();
            let redis = services.find(|one| one["name"] == "redis").unwrap();
            told(redis, "options", "-P redis --netns all".into());
            GROWTH.run(&["-p6379", "--netns=all", "--state-dir", &state]);
            told(&at(&discover(&["--state-dir", &state]), "6379"), "watched", true.into());
        });
    });
}

/// What can't be read is doubt: no owner is no "nobody", no history is no "not watched".
#[test]
fn without_rights_it_says_what_is_unknown() {
    Lab::test(|lab| {
        let mut server = lab.peer();
        server.say("listen l 127.0.0.1:11211");
        let state = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir();
        let state = state.unwrap();
        let dir = state.path().to_str().unwrap();
        GROWTH.run(&["-p11211", "--state-dir", dir]);
        let (_dir, copy) = public_copy(Path::new(CONNLEAK));
        let outcome = run(as_nobody(&copy).args(["discover", "-ojson", "--state-dir", dir]));
        let found: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|why| panic!("{why}: {outcome:?}"));
        let one = at(&found, "11211");
        assert_eq!((&one["pid"], &one["watched"], &one["profile"]), (&Value::Null, &Value::Null, &"memcached".into()));
        assert_eq!((&found["complete"]["owners"], &found["complete"]["watched"]), (&false.into(), &false.into()));
        let missing = found["missing"].to_string();
        assert!(missing.contains("may not be read") && missing.contains("other users' checks"), "{missing}");
        let table = run(as_nobody(&copy).args(["discover", "--state-dir", dir])).stdout;
        assert!(table.lines().nth(1).unwrap().ends_with(" ?") && !table.contains("not watched"), "{table}");
    });
}

/// A name that commands: shown, not obeyed; not written into configurations.
#[test]
fn a_hostile_socket_is_shown_and_left_out() {
    Lab::test(|lab| {
        let mut server = lab.peer();
        server.say(&format!("rename {}", hex("redis-server")));
        server.say("listen a @evil\"]|;$USER1$!\u{1b}[2K");
        let table = connleak(&["discover"]);
        assert!(table.contains("@evil\"]|;$USER1$!\\u{1b}[2K") && !table.contains('\u{1b}'), "{table}");
        for format in ["icinga", "nagios"] {
            let outcome = any(&["discover", "-o", format]);
            assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:?}");
            assert!(outcome.stderr.contains("left out, as their names need quoting"), "{outcome:?}");
            assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        }
        assert_eq!(connleak(&["discover", "-ozabbix"]), "[]\n");
    });
}
