//! What a pager must show of a first line: an SMS has 160 characters.

use regex_lite::Regex;

const SMS: usize = 160;

/// What is wrong with the words of a first line, without its performance data.
pub fn complaints(line: &str) -> Vec<String> {
    let (head, text) = line.split_once(" - ").expect("NAME STATE - text");
    let mut complaints = Vec::new();
    let mut fits = |what: &str, pattern: &str| {
        let end = Regex::new(pattern).unwrap().find(line).map_or(0, |found| line[..found.end()].chars().count());
        if end > SMS {
            complaints.push(format!("{what} ends at {end}"));
        }
        end > 0
    };
    match head.rsplit(' ').next() {
        Some("WARNING" | "CRITICAL") => {
            let limit =
                r"\((warning|critical) [^)]*\)|, (warning|critical) under |hardly any is left|before it is known";
            if !fits("the limit", limit) {
                complaints.push("no limit".to_owned());
                return complaints;
            }
            fits("who", r"held by [^,;(]+|of (user|tenant) [^,;]+|tenant [^,:;]+|leaks? in [^:]+|with peer [^,;]+");
            fits("since when", r"(oldest|since) [^,;]+");
        }
        Some("UNKNOWN") => drop(fits("the cause", r" - [^;]+")),
        _ => {}
    }
    let count = Regex::new(r"[0-9]+ [A-Za-z_][A-Za-z_0-9]*").unwrap();
    // Of both ends there may be as many.
    let mut counts: Vec<_> =
        count.find_iter(text).map(|count| count.as_str()).filter(|count| !count.ends_with(" at")).collect();
    counts.sort_unstable();
    let twice = counts.windows(2).filter(|two| two[0] == two[1]);
    complaints.extend(twice.map(|two| format!("'{}' is said twice", two[0])));
    complaints
}
