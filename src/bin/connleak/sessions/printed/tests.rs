//! Every shape that a real client prints says the same; what is no list is refused in one line.

use super::*;
use crate::sessions::listing;
use crate::sessions::session::{Client, Session};
use proptest::prelude::*;

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../../../../../tests/fixtures/sessions/", $name, ".txt"))
    };
}

fn sessions(text: &str) -> Vec<Session> {
    let lists = read(text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    lists.iter().flat_map(|list| listing::read(list).unwrap_or_else(|why| panic!("{why}\n{text}")).sessions).collect()
}

fn refused(text: &str) -> String {
    let why = read(text).and_then(|lists| lists.iter().map(listing::read).collect::<Result<Vec<_>, _>>()).unwrap_err();
    assert!(!why.contains('\n'), "{why}");
    why
}

/// What blanks are in a statement is the printer's own matter: an aligned one has no tabs.
fn words(text: Option<&String>) -> String {
    text.map_or(String::new(), |text| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn postgresql_says_the_same_in_every_shape() {
    let shapes = [
        recorded!("postgresql_csv"),
        recorded!("postgresql_aligned"),
        recorded!("postgresql_border2"),
        recorded!("postgresql_expanded"),
        recorded!("postgresql_all"),
        recorded!("postgresql_jsonl"),
    ];
    for text in shapes {
        let found = sessions(text);
        let [tcp, unix, asks] = &found[..] else { panic!("{found:#?}\n{text}") };
        assert_eq!((tcp.pid, tcp.client.text().as_str()), (Some(37), "127.0.0.1:52526"), "{text}");
        let told =
            |session: &Session| [&session.user, &session.database, &session.application].map(|text| text.clone());
        assert_eq!(told(tcp), ["app", "shop", "psql"].map(|text| Some(text.to_owned())));
        assert_eq!((tcp.state.as_deref(), tcp.in_transaction), (Some("idle in transaction"), true));
        assert_eq!(words(tcp.query.as_ref()), "select 'a|b', 'line2 tab';", "{text}");
        assert!(tcp.holds_transaction() && !unix.holds_transaction());
        assert_eq!((unix.pid, &unix.client), (Some(36), &Client::Unix));
        assert_eq!(words(unix.query.as_ref()), "select pg_sleep(15), 'äöü漢字';", "{text}");
        assert!(asks.query.as_ref().is_some_and(|query| query.contains("pg_stat_activity")));
    }
}

#[test]
fn what_psql_doesn_t_mark_is_refused_with_the_remedy() {
    for text in [recorded!("postgresql_tsv"), recorded!("postgresql_unaligned")] {
        let why = refused(text);
        assert!(why.starts_with("line 5: ") && why.contains("psql: --csv"), "{why}");
        // With each statement on one line it is read, also where one has the separator.
        let whole = text.replace("a|b',\n 'line2\ttab';", "a|b';");
        let found = sessions(&whole);
        assert_eq!((found.len(), words(found[0].query.as_ref()).as_str()), (3, "select 'a|b';"));
    }
}

#[test]
fn without_the_right_statements_are_hidden_and_counted() {
    let lists = read(recorded!("postgresql_noright")).unwrap();
    let listing = listing::read(&lists[0]).unwrap();
    assert_eq!(listing.hidden, 5);
    assert!(listing.sessions.iter().all(|session| session.query.as_deref() != Some("<insufficient privilege>")));
}

#[test]
fn mariadb_says_the_same_in_every_shape() {
    for text in [recorded!("mariadb_batch"), recorded!("mariadb_table"), recorded!("mariadb_vertical")] {
        let found = sessions(text);
        let of = |id: &str| found.iter().find(|session| session.id == id).unwrap();
        assert_eq!((found.len(), &of("6").client), (4, &Client::Unix), "{text}");
        assert_eq!(of("7").client, Client::Named("localhost".into(), 53028));
        assert_eq!((of("7").state.as_deref(), of("7").query.as_deref()), (Some("Sleep"), None));
        assert_eq!(of("6").query.as_deref(), Some("select sleep(12), 'äöü'"), "{text}");
        assert_eq!(of("5").user.as_deref(), Some("unauthenticated user"));
        assert_eq!(of("5").state.as_deref(), Some("Connect: Reading from net"));
    }
    let found = sessions(recorded!("mariadb_information_schema"));
    assert!(found[0].in_transaction && found[0].transaction.is_some() && found[0].holds_transaction());
    assert!(!found[1].in_transaction, "{found:?}");
}

#[test]
fn performance_schema_has_descriptors_and_last_statements() {
    let found = sessions(recorded!("mariadb_performance_schema"));
    assert_eq!((found[0].fd, &found[0].client), (Some(43), &Client::Unix));
    assert_eq!((found[1].fd, found[1].client.text().as_str()), (Some(45), "127.0.0.1:60966"));
    // mariadb writes line breaks and backslashes as escapes.
    assert_eq!(found[1].query.as_deref(), Some("select 'a|b\\t',\n 'x' from shop.t"));
    assert_eq!(found[1].state.as_deref(), Some("Sleep"));
}

#[test]
fn redis_and_memcached_have_descriptors() {
    let found = sessions(recorded!("redis"));
    let told: Vec<_> = found.iter().map(|session| (session.fd, session.query.as_deref().unwrap())).collect();
    assert_eq!(told, [(Some(8), "set"), (Some(11), "blpop"), (Some(12), "get"), (Some(13), "client|list")]);
    assert_eq!((found[1].state.as_deref(), &found[2].client), (Some("blocked"), &Client::Unix));
    let found = sessions(recorded!("memcached"));
    let told: Vec<_> = found.iter().map(|session| (session.fd, session.client.text())).collect();
    assert_eq!(told, [(Some(27), "127.0.0.1:33386".to_owned()), (Some(28), "127.0.0.1:33394".to_owned())]);
}

#[test]
fn the_pooler_may_print_its_two_lists_in_one_call() {
    for text in [recorded!("pgbouncer_aligned"), recorded!("pgbouncer_csv")] {
        let found = sessions(text);
        let pooled: Vec<_> = found.iter().map(|session| session.pooled.as_ref().unwrap()).collect();
        assert_eq!(pooled.iter().filter(|pooled| pooled.is_server).count(), 2, "{text}");
        assert_eq!((pooled[2].link.as_deref(), pooled[4].own.as_str()), (Some("0x55acb7004e50"), "0x55acb7004e50"));
        assert_eq!((pooled[4].remote_pid, pooled[2].remote_pid), (Some(67), None));
        assert_eq!(found[1].client, Client::Unix);
    }
}

#[test]
fn what_is_no_list_is_one_line() {
    let csv = recorded!("postgresql_csv");
    let header = csv.lines().next().unwrap();
    let cases = [
        (String::new(), "empty: no list came"),
        ("\n\n".to_owned(), "empty"),
        ("psql: error: connection failed".to_owned(), "begins no list"),
        ("\u{7f}ELF\u{1}\u{0}\u{0}".to_owned(), "line 1: a control character"),
        (format!("{csv}{csv}"), "a second header: give each list"),
        (recorded!("redis").replace(" fd=11", ""), "line 2: no 'fd='"),
        (recorded!("memcached").replace("END", ""), "no END: the list is cut"),
        (format!("{0}{0}", recorded!("memcached")), "more after END"),
        (csv[..csv.len() - 60].to_owned(), "cell"),
        (csv.replace(",app,shop,psql,idle in", ",app"), "line 4: 7 of 10 cells"),
        (recorded!("postgresql_aligned").replace("|     ", "      "), "its bars aren't those of the header"),
        (recorded!("mariadb_table").replace(" | ", " "), "bars"),
        (recorded!("mariadb_vertical").replacen("    Info: NULL\n", "", 1), "where the first has 'progress'"),
        ("Name,Size\na,1\n".to_owned(), "columns 'name, size' ... are of no list"),
        (format!("{}\n", header.replace("query", "q")), "nearly pg_stat_activity, but without query"),
        ("{\"pid\":1}\n{\"pid\"\n".to_owned(), "line 2: no JSON object"),
        ("{\"pid\":1}\n{\"pod\":1}\n".to_owned(), "no 'pid', which the first row has"),
        (csv.replace("\n37,", "\nx,"), "line 4: pid 'x' is no number"),
        (csv.replace("127.0.0.1,52526", "localhost,52526"), "client_addr 'localhost' is no address"),
    ];
    for (text, says) in cases {
        let why = refused(&text);
        assert!(why.contains(says), "{why}, not '{says}'\n{text}");
    }
}

#[test]
fn no_cut_of_a_list_panics() {
    let all = [
        recorded!("postgresql_aligned"),
        recorded!("postgresql_border2"),
        recorded!("postgresql_expanded"),
        recorded!("postgresql_csv"),
        recorded!("mariadb_table"),
        recorded!("mariadb_vertical"),
        recorded!("mariadb_batch"),
        recorded!("pgbouncer_aligned"),
        recorded!("redis"),
        recorded!("memcached"),
    ];
    for text in all {
        for end in text.char_indices().map(|(at, _)| at) {
            for part in [&text[..end], &text[end..]] {
                let _ = read(part).map(|lists| lists.iter().map(listing::read).map(drop).count());
            }
        }
    }
}

proptest! {
    /// Lists are strangers' data: whatever is in their statements.
    #[test]
    fn no_text_panics(lines in prop::collection::vec("[-+|*:=,\t\"{} a-cä漢0-9]{0,30}", 0..8), start in 0..9usize) {
        let heads = [
            "", "pid|client_addr\n---+---", "+-----+---+\n| pid | b |\n+-----+---+", "-[ RECORD 1 ]-+--", "*** 1. row ***",
            "a\tb", "id=1 addr=1", "STAT 1:addr tcp:1", "{\"pid\":1}",
        ];
        let text = format!("{}\n{}", heads[start], lines.join("\n"));
        if let Ok(lists) = read(&text) {
            for list in lists {
                prop_assert!(list.rows.iter().all(|row| row.cells.len() == list.columns.len()));
                let _ = listing::read(&list);
            }
        }
    }
}
