//! How to get each service's session list: the least right for it, and the command.

use connleak::base::error::{Error, Result};
use connleak::service::target::Target;

/// What a service needs and gives.
struct Recipe {
    /// The profiles whose services have it.
    services: &'static [&'static str],
    /// What it was shown with.
    title: &'static str,
    grant: &'static str,
    /// `PORT` stands for the port.
    command: &'static str,
    says: &'static str,
}

const RECIPES: [Recipe; 6] = [
    Recipe {
        services: &["postgresql"],
        title: "PostgreSQL 15: pg_stat_activity",
        grant: "CREATE ROLE connleak LOGIN; GRANT pg_read_all_stats TO connleak;",
        command: "psql -h 127.0.0.1 -p PORT -U connleak -d postgres -X --csv -c \"SELECT pid, client_addr, client_port, usename, datname, \
                  application_name, state, extract(epoch FROM now() - xact_start)::bigint AS xact_age, \
                  extract(epoch FROM now() - state_change)::bigint AS state_age, query FROM pg_stat_activity \
                  WHERE pid <> pg_backend_pid() AND (client_port IS NOT NULL OR query = '<insufficient privilege>')\" \
                  | connleak sessions -p PORT -",
        says: "Joined by the backend's pid, else the client's address. The last statement is told also of idle sessions.",
    },
    Recipe {
        services: &["mysql"],
        title: "MariaDB 10.11, MySQL: processlist",
        grant: "CREATE USER connleak@'127.0.0.1'; GRANT PROCESS ON *.* TO connleak@'127.0.0.1';",
        command: "mariadb -h 127.0.0.1 -P PORT --protocol=tcp -u connleak -e \"SELECT p.id, p.user, p.host, p.db, p.command, p.time, p.state, \
                  TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) AS trx_age, p.info FROM information_schema.processlist p \
                  LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id WHERE p.id <> CONNECTION_ID()\" \
                  | connleak sessions -p PORT -",
        says: "Joined by the client's port. No statement of sleeping sessions: the next list has it.",
    },
    Recipe {
        services: &["mysql"],
        title: "MariaDB 10.11, MySQL 8: performance_schema",
        grant: "CREATE USER connleak@'127.0.0.1'; GRANT SELECT ON performance_schema.socket_instances TO connleak@'127.0.0.1'; \
                GRANT SELECT ON performance_schema.threads TO connleak@'127.0.0.1'; \
                GRANT SELECT ON performance_schema.events_statements_current TO connleak@'127.0.0.1';",
        command: "mariadb -h 127.0.0.1 -P PORT --protocol=tcp -u connleak -e \"SELECT s.socket_id, s.ip, s.port, t.processlist_id, \
                  t.processlist_user, t.processlist_db, t.processlist_command, t.processlist_time, t.processlist_state, \
                  COALESCE(t.processlist_info, e.sql_text) AS last_query FROM performance_schema.socket_instances s \
                  JOIN performance_schema.threads t ON t.thread_id = s.thread_id \
                  LEFT JOIN performance_schema.events_statements_current e ON e.thread_id = s.thread_id AND e.nesting_event_id IS NULL \
                  WHERE t.processlist_id <> CONNECTION_ID()\" | connleak sessions -p PORT -",
        says: "Joined by the server's descriptor, else the client's address. The last statement is told also of sleeping sessions. \
               It knows what came after it was on: performance_schema=ON, \
               performance-schema-instrument='wait/io/socket/%=ON' and \
               performance-schema-consumer-events-statements-current=ON in the server's file, then a restart.",
    },
    Recipe {
        services: &["redis"],
        title: "Redis 7: CLIENT LIST",
        grant: "ACL SETUSER connleak on >PASSWORD +client|list",
        command: "redis-cli -h 127.0.0.1 -p PORT --user connleak --no-auth-warning CLIENT LIST | connleak sessions -p PORT -",
        says: "The password is in $REDISCLI_AUTH. Joined by the server's descriptor and the client's address. \
               Instead of a statement the last command's name.",
    },
    Recipe {
        services: &["memcached"],
        title: "memcached 1.6: stats conns",
        grant: "none is needed",
        command: "bash -c 'exec 3<>/dev/tcp/127.0.0.1/PORT; printf \"stats conns\\r\\nquit\\r\\n\" >&3; cat <&3' | connleak sessions -p PORT -",
        says: "Joined by the server's descriptor and the client's address. No statement: its state and the seconds since the last command.",
    },
    Recipe {
        services: &["pgbouncer"],
        title: "PgBouncer 1.18: SHOW CLIENTS and SHOW SERVERS, then PostgreSQL's pg_stat_activity",
        grant: "stats_users = connleak (pgbouncer.ini), and in PostgreSQL: CREATE ROLE connleak LOGIN; GRANT pg_read_all_stats TO connleak;",
        command: "connleak sessions -p PORT \
                  <(psql -h 127.0.0.1 -p PORT -U connleak -d pgbouncer -X --csv -c 'SHOW CLIENTS' -c 'SHOW SERVERS') \
                  <(psql -h 127.0.0.1 -p 5432 -U connleak -d postgres -X --csv -c \"SELECT pid, client_addr, client_port, usename, datname, \
                  application_name, state, extract(epoch FROM now() - xact_start)::bigint AS xact_age, \
                  extract(epoch FROM now() - state_change)::bigint AS state_age, query FROM pg_stat_activity \
                  WHERE pid <> pg_backend_pid()\")",
        says: "Clients are joined by their address, what is behind them by link, ptr and remote_pid: the last statement is the backend's. \
               <( ) is bash's.",
    },
];

/// What prints a service's recipes.
pub fn command(target: &Target) -> String {
    let (service, request) = (&target.service, &target.request);
    let named = match (service.ports.is_empty(), request.unix.is_empty()) {
        (false, _) => format!("-p {}", service.ports_text()),
        (true, true) => format!("-P {}", service.profile),
        (true, false) => {
            let paths: Vec<_> = request.unix.iter().map(|path| format!("--unix {}", path.text())).collect();
            paths.join(" ")
        }
    };
    format!("connleak sessions --how {named}")
}

/// What precedes all recipes where a port was asked for that no profile has.
pub fn of_no_service(port: u16) -> String {
    let port = if port == 0 { "what was asked for".to_owned() } else { format!("port {port}") };
    format!("# No profile names the service of {port}: these are all lists that are known; -P NAME gives its own.\n\n")
}

/// The recipes of a service; without one all.
pub fn text(service: Option<(&str, u16)>) -> Result<String> {
    let is_meant = |recipe: &&Recipe| service.is_none_or(|(name, _)| recipe.services.contains(&name));
    let recipes: Vec<&Recipe> = RECIPES.iter().filter(is_meant).collect();
    if recipes.is_empty() {
        let (name, _) = service.unwrap_or_default();
        let known: Vec<&str> = RECIPES.iter().flat_map(|recipe| recipe.services).copied().collect();
        let mut known = known;
        known.dedup();
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
        let port = service.map_or(usual(recipe), |(_, port)| port).to_string();
        let Recipe { title, grant, says, .. } = recipe;
        format!("# {title}\n# right: {grant}\n{}\n# {says}\n", recipe.command.replace("PORT", &port))
    };
    let note = "# Passwords belong in ~/.pgpass, ~/.my.cnf or the environment, not in the command.\n";
    Ok(recipes.iter().map(one).collect::<Vec<_>>().join("\n") + "\n" + note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::program::next::WITH_SESSIONS;

    #[test]
    fn each_service_has_its_command_with_the_port_that_was_asked_for() {
        let postgres = text(Some(("postgresql", 5433))).unwrap();
        assert!(postgres.contains("psql -h 127.0.0.1 -p 5433") && postgres.contains("connleak sessions -p 5433 -"));
        assert!(!postgres.contains("PORT") && postgres.contains("GRANT pg_read_all_stats"), "{postgres}");
        assert_eq!(text(Some(("mysql", 3306))).unwrap().matches("# right:").count(), 2);
        assert_eq!(text(None).unwrap().matches("# right:").count(), RECIPES.len());
        // An alert leads here.
        assert!(WITH_SESSIONS.iter().all(|service| text(Some((service, 1))).is_ok()));
        assert!(text(Some(("kafka", 1))).unwrap_err().to_string().contains("postgresql, mysql, redis"));
    }
}
