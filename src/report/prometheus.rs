//! The text format of Prometheus, for node_exporter's textfile collector.

use super::{Report, nagios};
use std::fmt::Write;

/// All samples of a name stand together, after one HELP and TYPE.
struct Family {
    name: &'static str,
    help: &'static str,
    samples: String,
}

/// One file of several services, which no two reports may share.
pub fn render(reports: &[Report]) -> String {
    let mut families: Vec<Family> = Vec::new();
    let mut put = |name, help, labels: &str, value: f64| {
        let at = families.iter().position(|family| family.name == name).unwrap_or_else(|| {
            families.push(Family { name, help, samples: String::new() });
            families.len() - 1
        });
        let _ = writeln!(families[at].samples, "connleak_{name}{{{labels}}} {value}");
    };
    for report in reports {
        let labels = labels(report);
        put("state", "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.", &labels, f64::from(report.state.exit_code()));
        for metric in &report.metrics {
            if let Some(value) = metric.value {
                put(metric.name, metric.help, &labels, value);
            }
        }
        for part in &report.parts {
            if let Some(value) = part.metric.value {
                let labels = format!("{labels},tenant=\"{}\"", escaped(&part.tenant));
                put(part.metric.name, part.metric.help, &labels, value);
            }
        }
        for share in &report.shares {
            let labels = format!("{labels},owner=\"{}\"", escaped(&share.owner));
            put(
                "owner_sockets",
                "Suspect sockets by who holds them: unit, else command and user.",
                &labels,
                share.sockets as f64,
            );
        }
    }
    let text = |family: &Family| {
        let Family { name, help, samples } = family;
        format!("# HELP connleak_{name} {help}\n# TYPE connleak_{name} gauge\n{samples}")
    };
    families.iter().map(text).collect()
}

fn labels(report: &Report) -> String {
    let mut labels = format!("check=\"{}\"", escaped(report.check));
    if let Some(service) = &report.service {
        let (name, ports) = (escaped(&service.profile), service.ports_text());
        let _ = write!(labels, ",service=\"{name}\",port=\"{ports}\",side=\"{}\"", service.side.name());
    }
    labels
}

/// A label's value: screened as in the first line, so that a name is the same in both, then by the
/// exposition format's rules.
fn escaped(text: &str) -> String {
    nagios::screened(text).replace('\\', "\\\\").replace('"', "\\\"")
}
