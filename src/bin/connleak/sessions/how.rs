//! How to get each service's session list: the least right for it, and the command.

use connleak::base::error::{Error, Result};
use connleak::kernel::unix_target::UnixPath;
use connleak::report::GENERIC;
use connleak::service::target::Target;

/// What a service needs and gives.
struct Recipe {
    /// The profiles whose services have it.
    services: &'static [&'static str],
    /// What it was shown with.
    title: &'static str,
    /// `HOST` stands for where MySQL sees the client.
    grant: &'static str,
    /// How its client connects, over TCP: `PORT` stands for the port.
    tcp: &'static str,
    /// Over a UNIX socket: `PATH` stands for its path, `DIR` for its directory, where that and the port are what the client is
    /// told. Empty: the list tells nothing of such connections.
    unix: &'static str,
    /// `{client}` stands for how it connects, `{choice}` for our own choice of sockets.
    command: &'static str,
    says: &'static str,
}

const RECIPES: [Recipe; 6] = [
    Recipe {
        services: &["postgresql"],
        title: "PostgreSQL 15: pg_stat_activity",
        grant: "CREATE ROLE connleak LOGIN; GRANT pg_read_all_stats TO connleak;",
        tcp: "-h 127.0.0.1 -p PORT",
        unix: "-h DIR -p PORT",
        command: "psql {client} -U connleak -d postgres -X --csv -c \"SELECT pid, client_addr, client_port, usename, datname, \
                  application_name, state, extract(epoch FROM now() - xact_start)::bigint AS xact_age, \
                  extract(epoch FROM now() - state_change)::bigint AS state_age, query FROM pg_stat_activity \
                  WHERE pid <> pg_backend_pid() AND (client_port IS NOT NULL OR query = '<insufficient privilege>')\" \
                  | connleak sessions {choice} -",
        says: "Joined by the backend's pid, else the client's address. The last statement is told also of idle sessions.",
    },
    Recipe {
        services: &["mysql"],
        title: "MariaDB 10.11, MySQL: processlist",
        grant: "CREATE USER connleak@'HOST'; GRANT PROCESS ON *.* TO connleak@'HOST';",
        tcp: "-h 127.0.0.1 -P PORT --protocol=tcp",
        unix: "",
        command: "mariadb {client} -u connleak -e \"SELECT p.id, p.user, p.host, p.db, p.command, p.time, p.state, \
                  TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) AS trx_age, p.info FROM information_schema.processlist p \
                  LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id WHERE p.id <> CONNECTION_ID()\" \
                  | connleak sessions {choice} -",
        says: "Joined by the client's port. No statement of sleeping sessions: the next list has it.",
    },
    Recipe {
        services: &["mysql"],
        title: "MariaDB 10.11, MySQL 8: performance_schema",
        grant: "CREATE USER connleak@'HOST'; GRANT SELECT ON performance_schema.socket_instances TO connleak@'HOST'; \
                GRANT SELECT ON performance_schema.threads TO connleak@'HOST'; \
                GRANT SELECT ON performance_schema.events_statements_current TO connleak@'HOST';",
        tcp: "-h 127.0.0.1 -P PORT --protocol=tcp",
        unix: "-S PATH",
        command: "mariadb {client} -u connleak -e \"SELECT s.socket_id, s.ip, s.port, t.processlist_id, \
                  t.processlist_user, t.processlist_db, t.processlist_command, t.processlist_time, t.processlist_state, \
                  COALESCE(t.processlist_info, e.sql_text) AS last_query FROM performance_schema.socket_instances s \
                  JOIN performance_schema.threads t ON t.thread_id = s.thread_id \
                  LEFT JOIN performance_schema.events_statements_current e ON e.thread_id = s.thread_id AND e.nesting_event_id IS NULL \
                  WHERE t.processlist_id <> CONNECTION_ID()\" | connleak sessions {choice} -",
        says: "Joined by the server's descriptor, else the client's address. The last statement is told also of sleeping sessions. \
               It knows what came after it was on: performance_schema=ON, \
               performance-schema-instrument='wait/io/socket/%=ON' and \
               performance-schema-consumer-events-statements-current=ON in the server's file, then a restart.",
    },
    Recipe {
        services: &["redis"],
        title: "Redis 7: CLIENT LIST",
        grant: "ACL SETUSER connleak on >PASSWORD +client|list",
        tcp: "-h 127.0.0.1 -p PORT",
        unix: "-s PATH",
        command: "redis-cli {client} --user connleak --no-auth-warning CLIENT LIST | connleak sessions {choice} -",
        says: "The password is in $REDISCLI_AUTH. Joined by the server's descriptor and the client's address. \
               Instead of a statement the last command's name.",
    },
    Recipe {
        services: &["memcached"],
        title: "memcached 1.6: stats conns",
        grant: "none is needed",
        tcp: "bash -c 'exec 3<>/dev/tcp/127.0.0.1/PORT; printf \"stats conns\\r\\nquit\\r\\n\" >&3; cat <&3'",
        unix: "printf 'stats conns\\r\\nquit\\r\\n' | socat -t5 - UNIX-CONNECT:PATH",
        command: "{client} | connleak sessions {choice} -",
        says: "Joined by the server's descriptor and the client's address. No statement: its state and the seconds since the last command.",
    },
    Recipe {
        services: &["pgbouncer"],
        title: "PgBouncer 1.18: SHOW CLIENTS and SHOW SERVERS, then PostgreSQL's pg_stat_activity",
        grant: "stats_users = connleak (pgbouncer.ini), and in PostgreSQL: CREATE ROLE connleak LOGIN; GRANT pg_read_all_stats TO connleak;",
        tcp: "-h 127.0.0.1 -p PORT",
        unix: "-h DIR -p PORT",
        command: "connleak sessions {choice} \
                  <(psql {client} -U connleak -d pgbouncer -X --csv -c 'SHOW CLIENTS' -c 'SHOW SERVERS') \
                  <(psql -h 127.0.0.1 -p 5432 -U connleak -d postgres -X --csv -c \"SELECT pid, client_addr, client_port, usename, datname, \
                  application_name, state, extract(epoch FROM now() - xact_start)::bigint AS xact_age, \
                  extract(epoch FROM now() - state_change)::bigint AS state_age, query FROM pg_stat_activity \
                  WHERE pid <> pg_backend_pid()\")",
        says: "Clients are joined by their address, what is behind them by link, ptr and remote_pid: the last statement is the backend's. \
               <( ) is bash's.",
    },
];

/// What a list is wanted of.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The service by its profile; `None`: any that is known.
    pub service: Option<&'a str>,
    /// 0: the service's usual one.
    pub port: u16,
    /// The UNIX socket instead of the port: a path, a name or a pattern.
    pub unix: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    /// `None`: of all services.
    pub fn of(target: Option<&'a Target>) -> Wanted<'a> {
        let Some(target) = target else { return Wanted { service: None, port: 0, unix: None } };
        let service = &target.profile.service;
        let port = target.service.ports.first().or(target.profile.ports.first()).copied().unwrap_or(0);
        let unix = target.request.unix.first().filter(|_| target.request.ports.is_empty()).map(UnixPath::text);
        Wanted { service: Some(service.as_str()).filter(|name| *name != GENERIC), port, unix }
    }

    fn choice(&self, port: u16) -> String {
        self.unix.map_or_else(|| format!("-p {port}"), |path| format!("--unix {}", quoted(path)))
    }

    /// How the recipe's client connects, where it can over this socket.
    fn over_unix(&self, recipe: &Recipe) -> Option<String> {
        let path = self.unix.filter(|path| path.starts_with('/') && !path.contains(['*', '?']))?;
        if recipe.unix.contains("DIR") {
            let (dir, port) = path.rsplit_once("/.s.PGSQL.").filter(|(_, port)| port.parse::<u16>().is_ok())?;
            return Some(recipe.unix.replace("DIR", &quoted(dir)).replace("PORT", port));
        }
        // socat has a meaning of its own for some characters.
        let is_socats = recipe.unix.contains("UNIX-CONNECT");
        (!is_socats || quoted(path) == path).then(|| recipe.unix.replace("PATH", &quoted(path)))
    }
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.,:/@".contains(&byte);
    if word.bytes().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// What prints a service's recipes.
pub fn command(target: &Target) -> String {
    let (service, request) = (&target.service, &target.request);
    let named = match (service.ports.is_empty(), request.unix.is_empty()) {
        (false, _) => format!("-p {}", service.ports_text()),
        (true, true) => format!("-P {}", service.profile),
        (true, false) => {
            let paths: Vec<_> = request.unix.iter().map(|path| format!("--unix {}", quoted(path.text()))).collect();
            paths.join(" ")
        }
    };
    format!("connleak sessions --how {named}")
}

/// What precedes all recipes where something was asked for that no profile has.
pub fn of_no_service(wanted: Wanted) -> String {
    let what = match (wanted.unix, wanted.port) {
        (Some(path), _) => path.to_owned(),
        (None, 0) => "what was asked for".to_owned(),
        (None, port) => format!("port {port}"),
    };
    format!("# No profile names the service of {what}: these are all lists that are known; -P NAME gives its own.\n\n")
}

/// The recipes of a service; without one all.
///
/// # Errors
/// Where none is known of it.
pub fn text(wanted: Wanted) -> Result<String> {
    let is_meant = |recipe: &&Recipe| {
        wanted.service.is_none_or(|name| recipe.services.contains(&name))
            && (wanted.unix.is_none() || !recipe.unix.is_empty())
    };
    let recipes: Vec<&Recipe> = RECIPES.iter().filter(is_meant).collect();
    if recipes.is_empty() {
        let mut known: Vec<&str> = RECIPES.iter().flat_map(|recipe| recipe.services).copied().collect();
        known.dedup();
        let name = wanted.service.unwrap_or_default();
        return Err(Error::Usage(format!("no session list of {name} is known; of {} there is", known.join(", "))));
    }
    let usual = |recipe: &Recipe| match recipe.services {
        ["postgresql"] => 5432,
        ["mysql"] => 3306,
        ["redis"] => 6379,
        ["memcached"] => 11211,
        _ => 6432,
    };
    let one = |recipe: &&Recipe| {
        let port = if wanted.port == 0 || wanted.service.is_none() { usual(recipe) } else { wanted.port };
        let by_socket = wanted.over_unix(recipe);
        let host = if by_socket.is_some() { "localhost" } else { "127.0.0.1" };
        let client = by_socket.unwrap_or_else(|| recipe.tcp.replace("PORT", &port.to_string()));
        let command = recipe.command.replace("{client}", &client).replace("{choice}", &wanted.choice(port));
        let Recipe { title, says, .. } = recipe;
        format!("# {title}\n# right: {}\n{command}\n# {says}\n", recipe.grant.replace("HOST", host))
    };
    let note = "# Passwords belong in ~/.pgpass, ~/.my.cnf or the environment, not in the command.\n";
    Ok(recipes.iter().map(one).collect::<Vec<_>>().join("\n") + "\n" + note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::program::next::WITH_SESSIONS;

    fn of(service: &str, port: u16, unix: Option<&str>) -> Result<String> {
        text(Wanted { service: Some(service), port, unix })
    }

    #[test]
    fn each_service_has_its_command_with_the_port_that_was_asked_for() {
        let postgres = of("postgresql", 5433, None).unwrap();
        assert!(postgres.contains("psql -h 127.0.0.1 -p 5433") && postgres.contains("connleak sessions -p 5433 -"));
        assert!(!postgres.contains("PORT") && postgres.contains("GRANT pg_read_all_stats"), "{postgres}");
        assert_eq!(of("mysql", 3306, None).unwrap().matches("# right:").count(), 2);
        let all = text(Wanted::of(None)).unwrap();
        assert_eq!(all.matches("# right:").count(), RECIPES.len());
        assert!(!["PORT", "HOST", "{"].iter().any(|left| all.contains(left)), "{all}");
        // An alert leads here.
        assert!(WITH_SESSIONS.iter().all(|service| of(service, 1, None).is_ok()));
        assert!(of("kafka", 1, None).unwrap_err().to_string().contains("postgresql, mysql, redis"));
    }

    #[test]
    fn a_unix_socket_is_chosen_and_connected_to() {
        for (service, path, client, right) in [
            ("postgresql", "/run/pg/.s.PGSQL.5433", "psql -h /run/pg -p 5433 ", "CREATE ROLE"),
            ("mysql", "/run/m.sock", "mariadb -S /run/m.sock ", "connleak@'localhost'"),
            ("redis", "/run/r.sock", "redis-cli -s /run/r.sock ", "ACL SETUSER"),
            ("memcached", "/run/c.sock", "UNIX-CONNECT:/run/c.sock ", "none is needed"),
            ("pgbouncer", "/tmp/.s.PGSQL.6432", "psql -h /tmp -p 6432 ", "stats_users"),
            // What its client can't be told is only chosen.
            ("postgresql", "/run/other", "psql -h 127.0.0.1 -p 5432 ", "CREATE ROLE"),
            ("pgbouncer", "/tmp/.s.PGSQL.x;y", "psql -h 127.0.0.1 -p 6432 ", "stats_users"),
            ("redis", "@redis", "redis-cli -h 127.0.0.1 -p 6379 ", "ACL SETUSER"),
        ] {
            let told = of(service, 0, Some(path)).unwrap();
            let choice = format!("connleak sessions --unix {} ", quoted(path));
            assert!(told.contains(client) && told.contains(&choice) && told.contains(right), "{told}");
            assert_eq!(told.matches("# right:").count(), 1, "{told}");
        }
        let odd = of("redis", 0, Some("/run/it's here")).unwrap();
        let word = r"'/run/it'\''s here'";
        assert!(odd.contains(&format!("-s {word} ")) && odd.contains(&format!("sessions --unix {word} -")), "{odd}");
        let odd = of("redis", 0, Some("/run/*/it's")).unwrap();
        assert!(odd.contains(r"connleak sessions --unix '/run/*/it'\''s' -") && odd.contains("-h 127.0.0.1"), "{odd}");
    }
}
