//! `NAME STATE - text | perfdata`, then long text.

use super::{Metric, Report};
use crate::report::range::Range;

/// NRPE version 2 carries 1,023 bytes; some schedulers cut earlier.
const LONGEST_FIRST_LINE: usize = 900;

/// What performance data may take of it: of the longest thresholds fewer labels, never a number that is cut.
const MOST_PERFDATA: usize = 940;

/// The longest long text that Nagios and Icinga keep whole is about 8 KiB.
const LONGEST_OUTPUT: usize = 8000;

pub fn render(report: &Report) -> String {
    let name = report.check.to_ascii_uppercase();
    let mut tail = String::new();
    for data in report.labelled().filter_map(perfdata) {
        if tail.len() + data.len() < MOST_PERFDATA {
            tail.push_str(if tail.is_empty() { " | " } else { " " });
            tail.push_str(&data);
        }
    }
    let head = format!("{name} {} - ", report.state);
    // Screening never makes a text longer.
    let summary = screened(&report.summary(LONGEST_FIRST_LINE.saturating_sub(head.len() + tail.len())));
    let mut output = format!("{head}{summary}{tail}\n");
    for (index, line) in report.details.iter().enumerate() {
        let line = screened(line);
        if output.len() + line.len() > LONGEST_OUTPUT {
            output.push_str(&format!("... {} more lines; -o json has everything\n", report.details.len() - index));
            break;
        }
        output.push_str(&line);
        output.push('\n');
    }
    output
}

/// `label=value[unit];warning;critical;min;`: every field is there, so that no reader guesses.
fn perfdata((label, metric): (&str, &Metric)) -> Option<String> {
    let value = metric.value?;
    let range = |range: Option<Range>| range.map_or(String::new(), |range| range.to_string());
    let (warning, critical) = (range(metric.limits.warning), range(metric.limits.critical));
    Some(format!("{label}={value}{};{warning};{critical};0;", metric.unit.symbol()))
}

/// Text that can't be taken for perfdata, another line or a terminal's command, whatever a process
/// calls itself. `|` and `=` become `/` and `:`, control and direction characters `?`.
pub fn screened(text: &str) -> String {
    let screen = |character: char| match character {
        '|' => '/',
        '=' => ':',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '?',
        character if character.is_control() => '?',
        character => character,
    };
    text.chars().map(screen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::verdict::ServiceState;

    #[test]
    fn strips_pipe_and_newline_perfdata_forgery() {
        let forged = "x|evil=1;;\n0 'a'=\u{1b}[2K\r\u{202e}\u{7f}\u{85}";
        assert_eq!(screened(forged), "x/evil:1;;?0 'a':?[2K????");
    }

    #[test]
    fn the_first_line_is_cut_in_its_text_and_keeps_its_perfdata() {
        let mut report = Report::failed("closewait", ServiceState::Critical, "ä".repeat(2000));
        report.metrics.push(Metric::count("close_wait", 3));
        let line = render(&report);
        assert!(line.len() <= LONGEST_FIRST_LINE + 1, "{}", line.len());
        assert!(line.ends_with("... | close_wait=3;;;0;\n"), "{line}");
    }

    #[test]
    fn what_is_missing_is_never_cut() {
        let mut report = Report::failed("closewait", ServiceState::Critical, "x".repeat(2000));
        report.missing.push("owners partial".into());
        assert!(render(&report).ends_with("xxx...; owners partial\n"));
        report.state = ServiceState::Unknown;
        assert!(render(&report).starts_with("CLOSEWAIT UNKNOWN - owners partial; xxx"));
    }

    #[test]
    fn long_text_says_what_it_leaves_out() {
        let mut report = Report::failed("closewait", ServiceState::Ok, "x".into());
        report.details = vec!["y".repeat(999); 20];
        let output = render(&report);
        assert!(output.len() < LONGEST_OUTPUT + 100);
        assert!(output.ends_with("... 13 more lines; -o json has everything\n"), "{output}");
    }
}
