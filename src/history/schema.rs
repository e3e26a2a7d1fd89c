//! The tables, and whose a database is.

use super::trouble::Trouble;
use rusqlite::{Connection, TransactionBehavior};

/// "CLKH": tells our files from others'.
const APPLICATION: i64 = 0x434c_4b48;
/// Rises when the tables or their rows change.
const FORMAT: i64 = 2;

/// `row`: tier 0 holds runs, by millisecond; tiers 1 and 2 hold five minutes and hours, by their
/// number. `clock` is the history's own time and what it was counted from.
const TABLES: &str = "
    CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), at INTEGER NOT NULL, wall INTEGER NOT NULL,
        uptime INTEGER NOT NULL, boot INTEGER NOT NULL);
    CREATE TABLE boot (id INTEGER PRIMARY KEY, boot TEXT NOT NULL UNIQUE);
    CREATE TABLE service (id INTEGER PRIMARY KEY, service TEXT NOT NULL UNIQUE, at INTEGER NOT NULL,
        runs INTEGER NOT NULL, kept INTEGER NOT NULL);
    CREATE TABLE state (service INTEGER PRIMARY KEY, version INTEGER NOT NULL, state BLOB NOT NULL);
    CREATE TABLE name (id INTEGER PRIMARY KEY AUTOINCREMENT, service INTEGER NOT NULL, name TEXT NOT NULL,
        hour INTEGER NOT NULL, UNIQUE (service, name));
    CREATE TABLE row (service INTEGER NOT NULL, tier INTEGER NOT NULL, slot INTEGER NOT NULL, wall INTEGER NOT NULL,
        body BLOB NOT NULL, PRIMARY KEY (service, tier, slot)) WITHOUT ROWID;";
const TABLE_COUNT: i64 = 6;

enum Whose {
    Nobodys,
    Ours,
}

/// Makes the tables in an empty file; refuses what is not ours.
pub fn ensure(connection: &mut Connection) -> Result<(), Trouble> {
    if let Whose::Nobodys = whose(connection, TransactionBehavior::Deferred)? {
        // Only before the first table. The tables come before WAL, so that an empty file never has
        // a log: SQLite throws away the log beside an empty file.
        connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
        create(connection)?;
    }
    // Where the file system can't do WAL, or another process is in the way, the rollback journal
    // that stays is as safe, only slower.
    match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(Trouble::from) {
        Err(Trouble::Sql(_)) | Ok(()) => {}
        Err(trouble) => return Err(trouble),
    }
    // A kill loses nothing; a power failure may take the last runs, samples and state alike, in
    // exchange for no fsync in most runs.
    connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0")?;
    Ok(())
}

/// For a connection that can't write: it has no use for an empty file.
pub fn check(connection: &mut Connection) -> Result<(), Trouble> {
    match whose(connection, TransactionBehavior::Deferred)? {
        Whose::Ours => Ok(()),
        Whose::Nobodys => Err(Trouble::Unusable("empty".to_owned())),
    }
}

fn create(connection: &mut Connection) -> Result<(), Trouble> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been first.
    if tables(&transaction)? == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    Ok(transaction.commit()?)
}

fn whose(connection: &mut Connection, behavior: TransactionBehavior) -> Result<Whose, Trouble> {
    // In one transaction: another process may be making the tables.
    let view = connection.transaction_with_behavior(behavior)?;
    let number = |pragma: &str| view.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (application, format) = (number("application_id")?, number("user_version")?);
    let tables = tables(&view)?;
    match (application, format) {
        (0, 0) if tables == 0 => Ok(Whose::Nobodys),
        (APPLICATION, FORMAT) if tables == TABLE_COUNT => Ok(Whose::Ours),
        (APPLICATION, FORMAT) => Err(Trouble::Unusable(format!("{tables} of its {TABLE_COUNT} tables"))),
        (APPLICATION, format) if format > FORMAT => Err(Trouble::Newer(format)),
        (APPLICATION, format) => Err(Trouble::Unusable(format!("of the unknown format {format}"))),
        _ => Err(Trouble::Unusable("a database of another program".to_owned())),
    }
}

fn tables(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    connection.query_row(sql, [], |row| row.get(0))
}
