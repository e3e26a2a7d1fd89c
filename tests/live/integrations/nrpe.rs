//! A real nrpe and check_nrpe, with the files of contrib/nrpe.

use crate::integrations::daemon::{Daemon, Story, contrib, missing, plugins};
use crate::lab::Lab;
use crate::lab::run::{CLOSEWAIT, Outcome, run};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Asks by the old protocol, whose answers have 1,023 bytes.
fn ask(command: &str, arguments: &[&str]) -> Outcome {
    let mut check = Command::new("/usr/lib/nagios/plugins/check_nrpe");
    check.args(["-H", "127.0.0.1", "-2", "-t", "30", "-c", command]);
    if !arguments.is_empty() {
        check.arg("-a").args(arguments);
    }
    run(&mut check)
}

#[test]
fn answers_pass_whole() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["nrpe", "check_nrpe"]) {
            return lab.skip(&why);
        }
        let (place, mut story) = (tempfile::tempdir().unwrap(), Story::begin(lab));
        let dir = place.path();
        // nrpe refuses to be root, and so do its checks run.
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
        let plugins = plugins(dir).display().to_string();
        let ours = |name: &str| contrib(&format!("nrpe/{name}.cfg")).replace("/usr/lib/nagios/plugins", &plugins);
        let leak = ["-P", "memcached", "--side", "client", "--min-age", "0s", "-w", "@30:40", "-c", "~:20"];
        let long = "x".repeat(1200);
        let config = format!(
            "server_address=127.0.0.1\nserver_port=5666\nallowed_hosts=127.0.0.1\nnrpe_user=nobody\nnrpe_group=nogroup\n\
             dont_blame_nrpe=1\npid_file={dir}/pid\ncommand_timeout=60\n{}{}\
             command[leak]={plugins}/check_closewait {}\ncommand[long]={plugins}/check_closewait -P {long}\n",
            ours("connleak"),
            ours("connleak-arguments"),
            leak.join(" "),
            dir = dir.display(),
        );
        let path = dir.join("nrpe.cfg");
        fs::write(&path, config).unwrap();
        // Debian's takes no arguments from outside; NRPE names one that was built to.
        let program = std::env::var("NRPE").unwrap_or_else(|_| "/usr/sbin/nrpe".to_owned());
        let mut nrpe = Command::new(program);
        let mut daemon = Daemon::start(nrpe.args(["-f", "-c", path.to_str().unwrap()]), dir.join("daemon.log"));
        daemon.until("answer", || (ask("check_closewait_memcached", &[]).code == 0).then_some(()));

        // Arguments of the definition, in every state.
        let same = |asked: &Outcome, told: &Outcome| {
            let still = |text: &str| text.split("close_wait_oldest").next().unwrap().to_owned();
            assert_eq!(asked.code, told.code, "{asked:?} {told:?}");
            let text = |outcome: &Outcome| still(&outcome.stdout).split(", oldest").next().unwrap().to_owned();
            assert_eq!(text(asked), text(told));
            assert_eq!(asked.output().metrics.len(), told.output().metrics.len(), "{asked:?}");
        };
        same(&ask("leak", &[]), &CLOSEWAIT.unprivileged(&leak));
        story.leak(lab);
        let critical = ask("leak", &[]);
        assert_eq!((critical.code, critical.value("close_wait")), (2, 25.0), "{critical:?}");
        same(&critical, &CLOSEWAIT.unprivileged(&leak));
        story.release();
        assert_eq!(ask("leak", &[]).code, 0);

        // The longest line there is.
        let (asked, told) = (ask("long", &[]), CLOSEWAIT.unprivileged(&["-P", &long]));
        assert_eq!((asked.code, &asked.stdout), (3, &told.stdout));
        assert_eq!(asked.stdout.trim_end().len(), 900, "{asked:?}");

        // Arguments from outside, where nrpe was built to take them.
        let asked = ask("check_closewait", &["-P memcached -w 5 -c 20"]);
        if asked.stdout.starts_with("CLOSEWAIT") {
            same(&asked, &CLOSEWAIT.unprivileged(&["-P", "memcached", "-w", "5", "-c", "20"]));
        } else {
            println!("this nrpe is built without --enable-command-args: its answer is '{}'", asked.stdout.trim());
            assert_eq!(asked.code, 3, "{asked:?}");
        }
    });
}
