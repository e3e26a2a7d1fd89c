//! A JUnit result: one test, as CI systems show it.

use super::Report;
use crate::report::verdict::ServiceState;
use std::time::Duration;

pub fn render(report: &Report, took: Duration) -> String {
    let seconds = took.as_millis() as f64 / 1000.0;
    let (check, name) = (escaped(report.check), escaped(&name(report)));
    let (failures, errors) = match report.state {
        ServiceState::Ok => (0, 0),
        ServiceState::Unknown => (0, 1),
        ServiceState::Warning | ServiceState::Critical => (1, 0),
    };
    let summary = escaped(&report.summary(usize::MAX));
    let result = match (failures, errors) {
        (0, 0) => format!("      <system-out>{summary}</system-out>\n"),
        (0, _) => format!("      <error message=\"{summary}\"/>\n"),
        _ => {
            let details: String = report.details.iter().map(|line| escaped(line) + "\n").collect();
            format!("      <failure message=\"{summary}\">{details}</failure>\n")
        }
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites>\n  \
           <testsuite name=\"connleak\" tests=\"1\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"0\" time=\"{seconds}\">\n    \
             <testcase classname=\"connleak.{check}\" name=\"{name}\" time=\"{seconds}\">\n\
         {result}    \
             </testcase>\n  \
           </testsuite>\n\
         </testsuites>\n"
    )
}

fn name(report: &Report) -> String {
    report.service.as_ref().map_or_else(|| "no service".to_owned(), ToString::to_string)
}

/// Text and attributes of XML 1.0, in which most control characters have no form at all.
fn escaped(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => output.push_str("&amp;"),
            '<' => output.push_str("&lt;"),
            '>' => output.push_str("&gt;"),
            '"' => output.push_str("&quot;"),
            '\n' | '\t' => output.push(character),
            character if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => output.push('?'),
            character => output.push(character),
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_a_pass_a_failure_or_an_error() {
        let of =
            |state| render(&Report::failed("x", state, "a<b & \"c\"\u{1b}[0m".into()), Duration::from_millis(1500));
        assert!(of(ServiceState::Ok).contains("failures=\"0\" errors=\"0\" skipped=\"0\" time=\"1.5\""));
        assert!(of(ServiceState::Critical).contains("<failure message=\"a&lt;b &amp; &quot;c&quot;?[0m\">"));
        assert!(of(ServiceState::Unknown).contains("<error message="));
    }
}
