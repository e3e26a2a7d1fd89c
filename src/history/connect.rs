//! A connection to the database: to write where that can be, else to read.

use super::place::Place;
use super::schema;
use super::trouble::Trouble;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

/// To read and write; where that can't be, to read, and why.
pub fn connect(place: &Place, until: Instant) -> std::result::Result<(Connection, Option<String>), Trouble> {
    if place.has_stray_log()? {
        return Err(Trouble::Unusable("without the database of its log".to_owned()));
    }
    let refused = match open(place, until, OpenFlags::SQLITE_OPEN_READ_WRITE, "", schema::ensure) {
        // SQLite itself falls back to reading where the file's mode says so.
        Ok(db) if !db.is_readonly("main")? => return Ok((db, None)),
        Ok(_) => Trouble::Sql(rusqlite::Error::InvalidQuery),
        Err(trouble @ Trouble::Sql(_)) if !trouble.is_lock() => trouble,
        Err(trouble) => return Err(trouble),
    };
    // Where nothing can be written the index of the log can't be shared; a log that is there can
    // still be read, and a database without one is all there is.
    let parameters = if place.is_alone()? { "immutable=1" } else { "readonly_shm=1" };
    match open(place, until, OpenFlags::SQLITE_OPEN_READ_ONLY, parameters, schema::check) {
        Ok(db) => Ok((db, Some(refused.why(place)))),
        Err(_) => Err(refused),
    }
}

fn open(
    place: &Place,
    until: Instant,
    mode: OpenFlags,
    parameters: &str,
    prepare: fn(&mut Connection) -> std::result::Result<(), Trouble>,
) -> std::result::Result<Connection, Trouble> {
    let flags = mode | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let uri = format!("file:{}?{parameters}", percent_encoded(place.database().as_os_str().as_bytes()));
    let mut db = Connection::open_with_flags(uri, flags)?;
    db.busy_timeout(until.saturating_duration_since(Instant::now()))?;
    // The log stays for the next run: emptying it at each end would cost an fsync or two each time.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    prepare(&mut db)?;
    Ok(db)
}

fn percent_encoded(path: &[u8]) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._".contains(&byte);
    path.iter()
        .map(|byte| if is_plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
