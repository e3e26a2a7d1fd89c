//! Each socket by itself, for programs: the keys that the checks give it.

use super::gather::View;
use crate::cells::quoted;
use connleak::owners::sockets::{COLUMNS, row};
use serde_json::Value;

pub fn json(view: &View) -> Value {
    view.sockets.iter().map(|suspect| row(suspect, &view.holders)).collect()
}

/// A header and a line for each socket; unknown values are empty.
pub fn csv(view: &View) -> String {
    let mut text = COLUMNS.join(",") + "\n";
    for suspect in &view.sockets {
        let row = row(suspect, &view.holders);
        let cell = |column: &&str| match &row[*column] {
            Value::Null => String::new(),
            Value::String(text) => quoted(text),
            number => number.to_string(),
        };
        text.push_str(&(COLUMNS.iter().map(cell).collect::<Vec<_>>().join(",") + "\n"));
    }
    text
}
