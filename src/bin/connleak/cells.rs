//! Cells of CSV and lines of JSON that neither a terminal nor a spreadsheet obeys.

use crate::screen::{commands, visible};
use serde_json::Value;

/// One line of JSON in which what a terminal would obey is escaped.
pub fn json_line(object: &Value) -> String {
    // All of them are in the first plane, which JSON's escapes can tell.
    let text = object.to_string();
    let mut line = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if commands(character) {
            line.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

/// A field on one line: quoted where it must be; what a spreadsheet would take for a formula stays a text.
pub fn quoted(field: &str) -> String {
    let field = visible(field);
    let is_formula = field.starts_with(['=', '+', '-', '@']) && field.parse::<f64>().is_err();
    let field = if is_formula { format!("'{field}") } else { field };
    let is_bare = !is_formula && !field.contains([',', '"']);
    if is_bare { field } else { format!("\"{}\"", field.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_formula_so_that_no_spreadsheet_runs_it() {
        for (field, cell) in [
            ("=cmd|'/c calc'!A0", "\"'=cmd|'/c calc'!A0\""),
            ("@SUM(1,1)", "\"'@SUM(1,1)\""),
            ("+1-1", "\"'+1-1\""),
            ("-", "\"'-\""),
            ("-7.5", "-7.5"),
            ("\t=1", "\\t=1"),
            ("a,\"b\"", "\"a,\"\"b\"\"\""),
            ("php-fpm", "php-fpm"),
        ] {
            assert_eq!(quoted(field), cell, "{field}");
        }
    }
}
