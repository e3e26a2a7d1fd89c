//! The units of contrib/ under a real systemd: what they confine is what the kernel lets through.

use crate::integrations::machine::{INSTALL, Machine};
use crate::lab::skip_test;
use std::fs;

/// The machine has contrib/ as `/srv/shared/contrib`.
fn machine(test: &str) -> Option<Machine> {
    let machine = Machine::new().map_err(|why| skip_test(test, &why)).ok()?;
    for folder in ["cron", "prometheus", "systemd"] {
        let from = format!("{}/contrib/{folder}", env!("CARGO_MANIFEST_DIR"));
        fs::create_dir_all(machine.shared().join("contrib").join(folder)).unwrap();
        for file in fs::read_dir(from).unwrap().map(|file| file.unwrap()) {
            fs::copy(file.path(), machine.shared().join("contrib").join(folder).join(file.file_name())).unwrap();
        }
    }
    Some(machine)
}

/// systemd's group for services lacks seccomp(2): who calls it is killed before a line is told.
#[test]
fn a_check_lives_below_the_filter_of_each_unit() {
    let Some(machine) = machine("units::a_check_lives_below_the_filter_of_each_unit") else { return };
    let output = machine.run(&format!(
        "{INSTALL}
        cp /srv/shared/contrib/*/*.service /srv/shared/contrib/*/*.timer /etc/systemd/system/
        systemctl daemon-reload
        systemctl start connleak-textfile.service
        systemctl start connleak@memcached.service
        systemctl start connleak-textfile.timer connleak@memcached.timer
        systemctl is-active connleak-textfile.timer connleak@memcached.timer
        journalctl --sync
        journalctl --unit connleak@memcached.service --output cat
        cat /var/lib/prometheus/node-exporter/*.prom
        ls -ln /var/lib/prometheus/node-exporter /var/lib/connleak/0"
    ));
    assert!(output.contains("CLOSEWAIT OK - memcached:11211: 0 sockets"), "{output}");
    for check in ["closewait", "conn_growth", "conn_idle", "conn_states"] {
        for service in ["memcached", "mysql"] {
            let state = format!("connleak_state{{check=\"{check}\",service=\"{service}\"");
            let line =
                output.lines().find(|line| line.starts_with(&state)).unwrap_or_else(|| panic!("{state}: {output}"));
            assert!(line.ends_with(" 0"), "{line}");
        }
    }
    assert_eq!(output.matches("-rw-r--r-- 1 0 0 ").count(), 4, "readable for node_exporter: {output}");
    assert!(output.contains("history"), "the history is where the unit says: {output}");
}

/// By the journal, and for real but for the program that sends it.
#[test]
fn a_mail_comes_where_a_state_changes() {
    let Some(machine) = machine("units::a_mail_comes_where_a_state_changes") else { return };
    fs::write(machine.shared().join("mail"), "#!/bin/sh\necho \"mail $*\"; cat\n").unwrap();
    fs::write(machine.shared().join("new.yaml"), "service: new\nports: [4711]\n").unwrap();
    let output = machine.run(&format!(
        "{INSTALL}
        cp /srv/shared/contrib/systemd/connleak* /etc/systemd/system/
        install /srv/shared/contrib/cron/connleak-on-change /usr/local/sbin/
        install /srv/shared/mail /usr/local/sbin/
        sed -i 's/^Type=oneshot/&\\nStandardOutput=append:\\/srv\\/shared\\/mails/' /etc/systemd/system/connleak-mail@.service
        systemctl daemon-reload
        look() {{
            systemctl start connleak@new.service || :
            sleep 0.5
            while [ \"$(systemctl is-active connleak-mail@new.service)\" = activating ]; do sleep 0.1; done
            systemctl is-failed connleak-mail@new.service && exit 1
            echo look >>/srv/shared/mails
        }}
        look
        look
        mkdir -p /etc/connleak/thresholds
        cp /srv/shared/new.yaml /etc/connleak/thresholds/
        look
        look"
    ));
    let mails = fs::read_to_string(machine.shared().join("mails")).unwrap();
    let [broken, again, well, quiet, _] = &mails.split("look\n").collect::<Vec<_>>()[..] else {
        panic!("{mails} {output}")
    };
    assert!(
        broken.contains("mail -s connleak: new on ") && broken.contains("UNKNOWN - unknown profile 'new'"),
        "{mails}"
    );
    assert!(well.contains("mail -s connleak: new on ") && well.contains("CLOSEWAIT OK - new:4711"), "{mails}");
    assert!(!well.contains("UNKNOWN") && again.is_empty() && quiet.is_empty(), "{mails}");
}

/// Each check, not only those that have a unit, and whatever the outer filter does with seccomp(2).
#[test]
fn no_check_dies_of_its_own_filter() {
    let Some(machine) = machine("units::no_check_dies_of_its_own_filter") else { return };
    let mut script = INSTALL.to_owned();
    let filters = ["@system-service", "~seccomp", "~@clock"];
    for check in ["closewait", "conn_growth", "conn_idle", "conn_states", "conn_tenants", "orphans_after_stop"] {
        for (index, filter) in filters.iter().enumerate() {
            let unit = format!("{check}-{index}.service");
            let text = format!(
                "[Service]\nType=oneshot\nExecStart=/usr/lib/nagios/plugins/check_{check} -p 4711\n\
                 SystemCallFilter={filter}\nStateDirectory=connleak\nStandardOutput=append:/srv/shared/answers\n"
            );
            fs::write(machine.shared().join(&unit), text).unwrap();
            script += &format!("cp /srv/shared/{unit} /etc/systemd/system/; systemctl start {unit}\n");
        }
    }
    machine.run(&script);
    let answers = fs::read_to_string(machine.shared().join("answers")).unwrap();
    assert_eq!(
        answers.lines().filter(|line| line.contains(" OK - port 4711: ")).count(),
        6 * filters.len(),
        "{answers}"
    );
}
