//! What can go wrong with a database, and what to say of it.

use super::place::Place;
use crate::base::error::Error;
use rusqlite::ErrorCode;

#[derive(Debug)]
pub enum Trouble {
    /// The content is corrupt or somebody else's: to be put aside.
    Unusable(String),
    /// Ours, by a later version: left alone. Its format.
    Newer(i64),
    /// Refused before SQLite saw it.
    Refused(Error),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, QueryReturnedNoRows,
        };
        match &error {
            // Types and rows that we never write otherwise.
            FromSqlConversionFailure(..)
            | InvalidColumnType(..)
            | IntegralValueOutOfRange(..)
            | QueryReturnedNoRows => Trouble::Unusable(error.to_string()),
            _ => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt) => Trouble::Unusable("corrupt".to_owned()),
                Some(ErrorCode::NotADatabase) => Trouble::Unusable("not a database".to_owned()),
                // An index that contradicts its table; our own statements never break a rule.
                Some(ErrorCode::ConstraintViolation) => Trouble::Unusable("contradicting itself".to_owned()),
                _ => Trouble::Sql(error),
            },
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Refused(error)
    }
}

impl Trouble {
    pub fn is_lock(&self) -> bool {
        let code = match self {
            Trouble::Sql(error) => error.sqlite_error_code(),
            _ => None,
        };
        matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// In one line, with the remedy.
    pub fn explain(self, place: &Place) -> Error {
        match self {
            Trouble::Refused(error) => error,
            trouble => Error::content(&place.database(), trouble.why(place)),
        }
    }

    /// What is wrong, and the remedy, without the file's name.
    pub fn why(&self, place: &Place) -> String {
        match self {
            Trouble::Refused(error) => error.to_string(),
            Trouble::Unusable(why) => format!("the history is {why}; remove it to begin anew"),
            Trouble::Newer(format) => {
                format!("written by a newer connleak (format {format}); upgrade this one or choose another --state-dir")
            }
            trouble if trouble.is_lock() => "the history is locked by another process; see who with 'fuser'".to_owned(),
            Trouble::Sql(error) => place.obstacle().unwrap_or_else(|| plain(error)),
        }
    }
}

fn plain(error: &rusqlite::Error) -> String {
    let text = error.to_string().replace('\n', " ");
    format!("can't use the history: {text}")
}
