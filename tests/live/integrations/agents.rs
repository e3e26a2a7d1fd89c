//! monit and collectd with their files of contrib/: what they say of a leak, and when it has gone.

use crate::integrations::daemon::{Daemon, Story, contrib, missing, plugins};
use crate::lab::Lab;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A directory that every user may enter, with the checks in it.
fn place() -> (tempfile::TempDir, String) {
    // collectd writes into no directory that begins with a dot.
    let place = tempfile::Builder::new().prefix("connleak").tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let plugins = plugins(place.path()).display().to_string();
    (place, plugins)
}

/// The log so far says all of `words` in one line.
fn says(log: &Path, words: &[&str]) -> Option<String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
}

#[test]
fn monit_tells_who_leaks_and_the_recovery() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["monit"]) {
            return lab.skip(&why);
        }
        let (place, plugins) = place();
        let dir = place.path();
        let ours = contrib("monit/connleak").replace("/usr/lib/nagios/plugins", &plugins);
        let ours = ours.replace("check_closewait -P memcached", "check_closewait -P memcached --min-age 0s");
        let ours = ours.replace("growth -P memcached", &format!("growth -P memcached --state-dir {}", dir.display()));
        let own = ["idfile", "statefile", "pidfile"].map(|file| format!("set {file} {}/{file}\n", dir.display()));
        let config = dir.join("monitrc");
        fs::write(&config, format!("set daemon 1\n{}{ours}", own.concat())).unwrap();
        // monit takes no file that others may read.
        fs::set_permissions(&config, Permissions::from_mode(0o600)).unwrap();
        let (log, mut story) = (dir.join("daemon.log"), Story::begin(lab));
        let mut daemon = Daemon::start(Command::new("monit").arg("-I").arg("-c").arg(&config), log.clone());
        story.leak(lab);
        let alert =
            daemon.until("leak", || says(&log, &["'closewait_memcached' status failed (2)", "CLOSEWAIT CRITICAL"]));
        assert!(alert.contains("25 ") && alert.contains("held by x/evil:1"), "{alert}");
        story.release();
        daemon.until("recovery", || says(&log, &["'closewait_memcached' status succeeded (0)", "CLOSEWAIT OK"]));
        assert_eq!(says(&log, &["conn_growth_memcached", "status failed (3)"]), None);
    });
}

#[test]
fn collectd_has_each_number_and_notifies_where_a_state_changes() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["collectd"]) {
            return lab.skip(&why);
        }
        let (place, plugins) = place();
        let dir = place.path();
        let program = dir.join("connleak-exec");
        fs::write(&program, contrib("collectd/connleak-exec")).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let ours = contrib("collectd/connleak.conf").replace("/usr/lib/nagios/plugins", &plugins);
        let ours = ours.replace("/usr/local/sbin", &dir.display().to_string()).replace("\"nagios\"", "\"nobody\"");
        let ours = ours.replace("check_closewait\" \"-P", "check_closewait\" \"--min-age\" \"0s\" \"-P");
        let config = dir.join("collectd.conf");
        let own = format!(
            "BaseDir \"{dir}\"\nPIDFile \"{dir}/pid\"\nHostname \"here\"\nInterval 1\nLoadPlugin logfile\n<Plugin logfile>\n\
             LogLevel info\nFile STDOUT\n</Plugin>\nLoadPlugin csv\n<Plugin csv>\nDataDir \"{dir}/csv\"\n</Plugin>\n",
            dir = dir.display()
        );
        fs::write(&config, own + &ours).unwrap();
        let (log, mut story) = (dir.join("daemon.log"), Story::begin(lab));
        let mut daemon = Daemon::start(Command::new("collectd").arg("-f").arg("-C").arg(&config), log.clone());
        // A file for each label and day: the last row's number.
        let value = |check: &str, label: &str| {
            let files = fs::read_dir(dir.join(format!("csv/here/connleak-{check}_memcached"))).ok()?.flatten();
            let name = format!("gauge-{label}-2");
            let file = files.filter(|file| file.file_name().to_string_lossy().starts_with(&name)).last()?;
            let text = fs::read_to_string(file.path()).ok()?;
            text.lines().last()?.rsplit(',').next()?.parse::<f64>().ok()
        };
        let reached = |daemon: &mut Daemon, label: &str, wanted: f64| {
            daemon.until(label, || (value("closewait", label) == Some(wanted)).then_some(()));
        };
        reached(&mut daemon, "state", 0.0);
        reached(&mut daemon, "close_wait_oldest", 0.0);
        story.leak(lab);
        reached(&mut daemon, "close_wait", 25.0);
        reached(&mut daemon, "state", 2.0);
        let told = daemon.until("notification", || says(&log, &["severity = FAILURE", "closewait_memcached"]));
        assert!(told.contains("CLOSEWAIT CRITICAL - memcached:11211: 25 "), "{told}");
        daemon.until("states", || (value("conn_states", "close_wait") == Some(25.0)).then_some(()));
        story.release();
        reached(&mut daemon, "close_wait", 0.0);
        daemon.until("recovery", || says(&log, &["severity = OKAY", "CLOSEWAIT OK"]));
        let text = fs::read_to_string(&log).unwrap();
        assert_eq!(text.matches("severity = FAILURE").count(), 1, "once: {text}");
    });
}
