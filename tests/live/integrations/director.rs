//! The basket restored into a real Icinga Director over a database of its own, rendered, and taken by Icinga 2.

use crate::integrations::daemon::{contrib, missing, tool};
use crate::integrations::database::Database;
use crate::lab::Lab;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const MODULES: &str = "/usr/share/icingaweb2/modules";

struct Director {
    dir: PathBuf,
    database: Database,
}

impl Director {
    /// An empty one.
    fn start(dir: &Path) -> Director {
        let director =
            Director { dir: dir.to_owned(), database: Database::start(dir, "director", "character set utf8") };
        director.prepare();
        director
    }

    fn prepare(&self) {
        let dir = self.dir.clone();
        fs::create_dir_all(dir.join("modules/director")).unwrap();
        fs::create_dir(dir.join("enabledModules")).unwrap();
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        write("config.ini", "[global]\nconfig_backend = \"ini\"\n[logging]\nlog = \"none\"\n");
        write("modules/director/config.ini", "[db]\nresource = \"director\"\n");
        write(
            "resources.ini",
            "[director]\ntype = \"db\"\ndb = \"mysql\"\nhost = \"127.0.0.1\"\nport = \"3306\"\ndbname = \"director\"\n\
             username = \"director\"\npassword = \"x\"\ncharset = \"utf8\"\n",
        );
        for module in ["incubator", "reactbundle", "director"] {
            let link = dir.join("enabledModules").join(module);
            std::os::unix::fs::symlink(Path::new(MODULES).join(module), link).unwrap();
        }
        self.say(&["migration", "run"], None);
    }

    fn say(&self, words: &[&str], input: Option<&Path>) -> String {
        let mut command = Command::new("icingacli");
        command.arg("director").args(words).env("ICINGAWEB_CONFIGDIR", &self.dir);
        let input = fs::File::open(input.unwrap_or(Path::new("/dev/null"))).unwrap();
        let output = command.stdin(input).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// All that it would deploy.
    fn rendered(&self) -> String {
        self.say(&["config", "render"], None);
        self.database.query(
            "select f.content from director.director_generated_config_file c \
             join director.director_generated_file f on f.checksum = c.file_checksum \
             join director.director_generated_config g on g.checksum = c.config_checksum \
             where g.last_activity_checksum = \
             (select checksum from director.director_activity_log order by id desc limit 1)",
        )
    }
}

#[test]
fn the_basket_is_restored_rendered_and_taken() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["icingacli", "mariadbd", "mariadb-install-db", "icinga2"]) {
            return lab.skip(&why);
        }
        if !Path::new(MODULES).join("director").exists() {
            return lab.skip("icingaweb2-module-director is not installed");
        }
        let place = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let director = Director::start(place.path());
        let file = place.path().join("basket.json");
        fs::write(&file, contrib("icinga2/connleak-director-basket.json")).unwrap();
        // Twice, as an update does it.
        for _ in 0..2 {
            director.say(&["basket", "restore"], Some(&file));
        }
        let basket: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let fields = basket["Datafield"].as_object().unwrap().len();
        for table in ["director_datafield", "icinga_command_field", "icinga_command_argument"] {
            let count = director.database.query(&format!("select count(*) from director.{table}"));
            assert_eq!(count.trim(), fields.to_string(), "{table}");
        }
        let host = r#"{"object_type":"object","address":"127.0.0.1","check_command":"closewait"}"#;
        director.say(&["host", "create", "leaky", "--json", host], None);
        let service = r#"{"object_type":"object","imports":["connleak closewait"],"host":"leaky",
            "vars":{"closewait_port":["11211"],"closewait_min_age":"30s","closewait_ghosts":true}}"#;
        director.say(&["service", "create", "closewait", "--json", service], None);
        let rendered = director.rendered();
        for (name, command) in basket["Command"].as_object().unwrap() {
            let object = rendered.split(&format!("object CheckCommand \"{name}\" {{")).nth(1).unwrap();
            let object = object.split("\n}\n").next().unwrap();
            for argument in command["arguments"].as_object().unwrap().keys() {
                assert!(object.contains(&format!("\"{argument}\" = {{")), "{name} {argument}: {object}");
            }
        }
        assert!(rendered.contains("vars.closewait_min_age = \"30s\""), "{rendered}");
        let path = place.path().join("icinga");
        fs::create_dir(&path).unwrap();
        let (conf, main) = (path.join("rendered.conf"), path.join("icinga2.conf"));
        fs::write(&conf, rendered).unwrap();
        let head = "include <itl>\nconst NodeName = \"x\"\nobject Endpoint NodeName {}\n\
            object Zone \"master\" { endpoints = [ NodeName ] }\nobject Zone \"director-global\" { global = true }\n";
        fs::write(&main, format!("{head}include \"{}\"\n", conf.display())).unwrap();
        let mut icinga = Command::new("icinga2");
        icinga.args(["daemon", "-C", "-c"]).arg(&main);
        for directory in ["DataDir", "InitRunDir", "LogDir", "CacheDir", "SpoolDir"] {
            icinga.arg("-D").arg(format!("{directory}={}", path.display()));
        }
        let told =
            tool(icinga.args(["-D", "RunAsUser=root", "-D", "RunAsGroup=root"])).unwrap_or_else(|why| panic!("{why}"));
        assert!(told.contains("Instantiated 1 Service") && told.contains("CheckCommands"), "{told}");
    });
}
