//! A real Zabbix: server, agent 2 and the API of its frontend, with the files of contrib/zabbix.

use crate::integrations::daemon::{Daemon, Story, ask_json, contrib, layered, missing, plugins};
use crate::integrations::database::Database;
use crate::lab::Lab;
use crate::lab::run::CONNLEAK;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

const FRONTEND: &str = "/usr/share/zabbix";
const SCHEMA: &str = "/usr/share/zabbix-server-mysql";
/// What logging in and importing need of the 35 MB that a new installation is given.
const TABLES: &str = "role|role_rule|users|usrgrp|users_groups|config|hstgrp|graph_theme|globalmacro";
/// Whose agent listens where.
const HOSTS: [(&str, &str); 2] = [("h", "10050"), ("g", "10060")];

fn agent(dir: &Path, name: &str, port: &str) -> Daemon {
    let place = dir.display();
    let config = format!(
        "Server=127.0.0.1\nListenIP=127.0.0.1\nListenPort={port}\nHostname={name}\nLogType=console\n\
         PidFile={place}/{name}.pid\nControlSocket={place}/{name}.sock\nTimeout=10\nInclude={place}/connleak.conf\n"
    );
    let file = dir.join(format!("{name}.conf"));
    fs::write(&file, config).unwrap();
    let path = format!("{place}/plugins:{}", std::env::var("PATH").unwrap());
    let mut agent = layered(dir, &["zabbix_agent2", "-f", "-c", &file.display().to_string()]);
    let agent = agent.env("PATH", path).env("MP_STATE_PATH", dir.join(format!("{name}.state")));
    Daemon::start(agent, dir.join(format!("{name}.log")))
}

struct Zabbix {
    api: Daemon,
    server: Daemon,
    /// Of the hosts `h` and `g`.
    agents: [Option<Daemon>; 2],
    token: Value,
    _database: Database,
}

impl Zabbix {
    fn start(dir: &Path) -> Zabbix {
        let database = Database::start(dir, "zabbix", "character set utf8mb4 collate utf8mb4_bin");
        database.load("zabbix", &format!("zcat {SCHEMA}/schema.sql.gz"));
        database.load("zabbix", &format!("zcat {SCHEMA}/data.sql.gz | grep -E '^INSERT INTO `({TABLES})` '"));
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        for name in ["etc/zabbix", "etc/connleak/thresholds"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        write(
            "etc/zabbix/zabbix.conf.php",
            "<?php $DB = ['TYPE' => 'MYSQL', 'SERVER' => '127.0.0.1', 'PORT' => '3306', 'DATABASE' => 'zabbix',\n\
             'USER' => 'zabbix', 'PASSWORD' => 'x', 'SCHEMA' => '', 'ENCRYPTION' => false, 'DOUBLE_IEEE754' => true];\n",
        );
        // A leak needn't be a minute old here.
        let profile = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/thresholds/memcached.yaml")).unwrap();
        let young = profile.replacen("min_age: 60s", "min_age: 0s", 1);
        assert_ne!(young, profile);
        write("etc/connleak/thresholds/memcached.yaml", &young);
        let place = dir.display();
        write(
            "server.conf",
            &format!(
                "DBHost=127.0.0.1\nDBPort=3306\nDBName=zabbix\nDBUser=zabbix\nDBPassword=x\nLogType=console\n\
                 PidFile={place}/server.pid\nSocketDir={place}\nListenIP=127.0.0.1\nAllowRoot=1\nCacheUpdateFrequency=1\n\
                 StartPollers=2\nStartDBSyncers=1\nStartHTTPPollers=0\nStartDiscoverers=0\nStartPingers=0\n\
                 StartTrappers=1\nTimeout=10\nAllowUnsupportedDBVersions=1\n"
            ),
        );
        let bin = plugins(dir).display().to_string();
        fs::copy(CONNLEAK, dir.join("plugins/connleak")).unwrap();
        write("connleak.conf", &contrib("zabbix/connleak.conf").replace("/usr/lib/nagios/plugins", &bin));
        let config = |name: &str| dir.join(name).display().to_string();
        let mut server = Command::new("zabbix_server");
        let server = Daemon::start(server.args(["-f", "-c", &config("server.conf")]), dir.join("server.log"));
        let agents = HOSTS.map(|(name, port)| Some(agent(dir, name, port)));
        let mut php = layered(dir, &["php", "-S", "127.0.0.1:8080", "-t", FRONTEND]);
        let api = Daemon::start(&mut php, dir.join("php.log"));
        let mut zabbix = Zabbix { api, server, agents, token: Value::Null, _database: database };
        zabbix.token = zabbix.ask("user.login", &json!({"username": "Admin", "password": "zabbix"}));
        zabbix
    }

    fn try_ask(&self, method: &str, parameters: &Value) -> Option<Value> {
        let mut request = json!({"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1});
        if !self.token.is_null() {
            request["auth"] = self.token.clone();
        }
        let arguments = ["-H", "Content-Type: application/json-rpc", "--data-binary", &request.to_string()];
        ask_json(&arguments, "http://127.0.0.1:8080/api_jsonrpc.php")
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        let mut answer = Value::Null;
        for _ in 0..1200 {
            if let Some(told) = self.try_ask(method, parameters) {
                answer = told;
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert!(answer.get("result").is_some(), "{method}: {answer:#}\n{}", self.api.log());
        answer["result"].clone()
    }

    /// A host's items, or its discovery rules.
    fn of_host(&self, host: &str, kind: &str) -> Vec<Value> {
        let output = ["itemid", "key_", "lastvalue", "state", "error", "type"];
        let wanted = json!({"host": host, "templated": false, "output": output});
        let found = self.try_ask(&format!("{kind}.get"), &wanted);
        found.and_then(|found| found["result"].as_array().cloned()).unwrap_or_default()
    }

    fn value(&self, host: &str, key: &str) -> Option<String> {
        let items = self.of_host(host, "item");
        let item = items.iter().find(|item| item["key_"] == key)?;
        Some(item["lastvalue"].as_str()?.to_owned())
    }

    /// Has what `wanted` selects looked at, until `seen`; what isn't known to the server yet is refused.
    fn until<T>(&mut self, what: &str, mut seen: impl FnMut(&Zabbix) -> Option<T>) -> T {
        let mut found = None;
        for _ in 0..160 {
            found = seen(self);
            if found.is_some() {
                break;
            }
            // Items by themselves come once in a minute, the discovery in ten.
            let is_asked = |item: &&Value| item["type"] == "0";
            for (host, _) in HOSTS {
                for kind in ["discoveryrule", "item"] {
                    let all = self.of_host(host, kind);
                    let task = |item: &Value| json!({"type": 6, "request": {"itemid": item["itemid"]}});
                    let tasks: Vec<_> = all.iter().filter(is_asked).map(task).collect();
                    let _ = self.try_ask("task.create", &Value::Array(tasks));
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        found.unwrap_or_else(|| panic!("no {what}: {:#?}\n{}", self.of_host("h", "item"), self.server.log()))
    }

    /// Names of the problems that a host has.
    fn problems(&self, host: &str) -> Option<Vec<String>> {
        let wanted = json!({"host": host, "output": ["description"], "filter": {"value": 1}, "expandDescription": true,
            "selectLastEvent": ["name"]});
        let found = self.try_ask("trigger.get", &wanted)?;
        let name = |one: &Value| one["lastEvent"]["name"].as_str().map(str::to_owned);
        Some(found["result"].as_array()?.iter().filter_map(name).collect())
    }

    fn set_up(&mut self) {
        let every = json!({"createMissing": true, "updateExisting": true});
        let rules = json!({
            "groups": {"createMissing": true}, "templates": every, "items": every, "triggers": every,
            "discoveryRules": every, "valueMaps": every,
        });
        // Twice, as an update does it.
        for _ in 0..2 {
            let source = contrib("zabbix/connleak-template.yaml");
            let imported =
                self.ask("configuration.import", &json!({"format": "yaml", "source": source, "rules": rules}));
            assert_eq!(imported, true);
        }
        let template = self.ask("template.get", &json!({"filter": {"host": "connleak"}}))[0]["templateid"].clone();
        let group = self.ask("hostgroup.get", &json!({}))[0]["groupid"].clone();
        for (host, port) in HOSTS {
            let interface = json!({"type": 1, "main": 1, "useip": 1, "ip": "127.0.0.1", "dns": "", "port": port});
            self.ask(
                "host.create",
                &json!({
                    "host": host,
                    "groups": [{"groupid": group}],
                    "templates": [{"templateid": template}],
                    "macros": [{"macro": "{$CONNLEAK.NODATA}", "value": "30s"}],
                    "interfaces": [interface],
                }),
            );
        }
    }
}

const STATE: &str = "connleak.state[closewait,\"-P memcached\"]";

#[test]
fn services_are_found_a_leak_is_a_problem_and_a_dead_agent_too() {
    Lab::test(|lab| {
        let programs = ["zabbix_server", "zabbix_agent2", "mariadbd", "mariadb-install-db", "php", "curl"];
        if let Some(why) = missing(&programs) {
            return lab.skip(&why);
        }
        if !Path::new(FRONTEND).join("api_jsonrpc.php").exists() || !Path::new(SCHEMA).exists() {
            return lab.skip("zabbix-frontend-php or zabbix-server-mysql is not installed");
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let place = tempfile::Builder::new().permissions(mode).tempdir().unwrap();
        let mut story = Story::begin(lab);
        let mut zabbix = Zabbix::start(place.path());
        zabbix.set_up();
        let is_well = |zabbix: &Zabbix| HOSTS.iter().all(|(host, _)| zabbix.value(host, STATE).as_deref() == Some("0"));
        zabbix.until("state", |zabbix| is_well(zabbix).then_some(()));
        // What becomes of it is seen at the end, as that takes its time.
        drop(zabbix.agents[1].take());
        // Its own database is a service too. Every number of the template is one of the checks'.
        let checks = ["closewait", "conn_growth", "conn_idle", "conn_states"];
        let all = |zabbix: &Zabbix| {
            let told = |check: &str| zabbix.value("h", &format!("connleak.told[{check},\"-P mysql\"]"));
            checks.iter().all(|check| told(check).is_some_and(|text| !text.is_empty())).then_some(())
        };
        zabbix.until("answer of every check", all);
        let refused: Vec<_> = zabbix.of_host("h", "item").into_iter().filter(|item| item["state"] != "0").collect();
        assert!(refused.is_empty(), "{refused:#?}");
        let count = "connleak.established[closewait,\"-P memcached\"]";
        zabbix.until("number", |zabbix| (zabbix.value("h", count)? == "4").then_some(()));

        story.leak(lab);
        let named = |zabbix: &Zabbix, host: &str, begin: &str| {
            zabbix.problems(host)?.into_iter().find(|name| name.starts_with(begin))
        };
        let problem = zabbix.until("problem", |zabbix| named(zabbix, "h", "memcached closewait CRITICAL: "));
        let pid = story.client_pid();
        assert!(problem.contains("memcached:11211 25 sockets") && problem.contains(&format!("[{pid}]")), "{problem}");
        let count = "connleak.close_wait[closewait,\"-P memcached\"]";
        zabbix.until("count", |zabbix| (zabbix.value("h", count)? == "25").then_some(()));
        story.release();
        zabbix.until("end", |zabbix| {
            let problems = zabbix.problems("h")?;
            problems.iter().all(|name| !name.starts_with("memcached closewait")).then_some(())
        });

        zabbix.until("silence", |zabbix| named(zabbix, "g", "connleak: the agent is silent"));
        assert_eq!(zabbix.value("g", STATE).as_deref(), Some("0"), "the last state stays");
        assert_eq!(named(&zabbix, "h", "connleak: the agent is silent"), None);
    });
}
