//! The text format of Prometheus, for node_exporter's textfile collector.

use super::Report;
use std::fmt::Write;

pub fn render(report: &Report) -> String {
    let mut labels = format!("check=\"{}\"", escaped(report.check));
    if let Some(service) = &report.service {
        let (name, ports) = (escaped(&service.profile), service.ports_text());
        let _ = write!(labels, ",service=\"{name}\",port=\"{ports}\",side=\"{}\"", service.side.name());
    }
    let mut output = String::new();
    let mut family = |name: &str, help: &str, value: f64| {
        let _ = write!(
            output,
            "# HELP connleak_{name} {help}\n# TYPE connleak_{name} gauge\nconnleak_{name}{{{labels}}} {value}\n"
        );
    };
    family("state", "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.", f64::from(report.state.exit_code()));
    for metric in &report.metrics {
        if let Some(value) = metric.value {
            family(metric.name, metric.help, value);
        }
    }
    if let Some(first) = report.parts.first() {
        let (name, help) = (first.metric.name, first.metric.help);
        let _ = write!(output, "# HELP connleak_{name} {help}\n# TYPE connleak_{name} gauge\n");
    }
    for part in &report.parts {
        if let Some(value) = part.metric.value {
            let (name, tenant) = (part.metric.name, escaped(&part.tenant));
            let _ = writeln!(output, "connleak_{name}{{{labels},tenant=\"{tenant}\"}} {value}");
        }
    }
    output
}

/// A label's value, by the exposition format's rules.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
