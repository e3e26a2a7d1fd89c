//! The text format of Prometheus, for node_exporter's textfile collector.

use super::{Report, nagios};
use std::fmt::Write;

/// What each metric of the suite is, one text for all checks that have it: node_exporter reads their files
/// together, and silently drops samples of a name whose HELP differs from that of another file.
const METRICS: &[(&str, &str)] = &[
    ("accept_queue", "The fullest accept queue in percent of its backlog."),
    ("bound", "Of the sockets left those that only keep the port bound."),
    ("close", "Sockets in CLOSE."),
    ("close_wait", "Sockets in CLOSE_WAIT; of check closewait those of its minimal age."),
    ("close_wait_max", "Most CLOSE_WAIT of one tenant."),
    ("close_wait_oldest", "Seconds since the oldest CLOSE_WAIT's FIN."),
    ("close_wait_ratio", "close_wait in percent of all that were established."),
    ("close_wait_young", "Sockets in CLOSE_WAIT for less than the minimal age."),
    ("closed", "Connections closed a minute."),
    ("closing", "Sockets in CLOSING."),
    ("connections", "Connections in ESTABLISHED and CLOSE_WAIT."),
    ("drained_after", "Seconds until nothing was left, or the wait."),
    ("ephemeral_ports", "Ephemeral ports used towards one server, in percent."),
    ("established", "Sockets in ESTABLISHED."),
    ("fds", "Open descriptors."),
    ("fin_wait1", "Sockets in FIN_WAIT1."),
    ("fin_wait2", "Sockets in FIN_WAIT2."),
    ("ghosts", "Of close_wait what only a descriptor is left of."),
    ("growth", "Growth a minute."),
    ("half_open", "SYN_RECV in percent of the backlog."),
    ("held", "Of the sockets left those that a process holds."),
    ("idle", "Connections without data for the minimal age."),
    ("idle_max", "Most idle connections of one tenant."),
    ("idle_oldest", "Seconds without data of the longest silent connection."),
    ("idle_share", "idle in percent of established."),
    ("kernel", "Sockets that only the kernel has, left or ending by themselves."),
    ("last_ack", "Sockets in LAST_ACK."),
    ("left", "Seconds until the limit is reached, 30 days at most and where nothing leaks."),
    ("limit", "The limit of what runs out first."),
    ("listen", "Sockets in LISTEN; of check orphans_after_stop those left."),
    ("never_used", "Of idle those that never carried a byte."),
    ("new", "Sockets that the baseline doesn't have."),
    ("new_syn_recv", "Of SYN_RECV those without a socket."),
    ("no_keepalive", "Of idle those without a keepalive timer."),
    ("opened", "Connections opened a minute."),
    ("orphans", "Sockets left after the stop."),
    ("outliers", "Tenants that stand out above the others."),
    ("owner_sockets", "Suspect sockets by who holds them: unit, else command and user."),
    ("pooled", "Connections that poolers hold for tenants."),
    ("pooler_clients", "Poolers' connections with clients."),
    ("pooler_servers", "Poolers' connections with servers."),
    ("rss", "Resident memory in bytes."),
    ("share_max", "Largest share of one tenant, in percent."),
    ("share_other", "Share of the tenants that have no number of their own here, in percent."),
    ("sockets", "Sockets in all states but LISTEN."),
    ("spares", "Connections that a pool may keep, idle or closed by their peer."),
    ("state", "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."),
    ("stuck", "Sockets closing for the minimal age."),
    ("stuck_oldest", "Seconds of the longest closing."),
    ("suspects", "Connections that speak for a leak."),
    ("syn_recv", "Connections in SYN_RECV."),
    ("syn_sent", "Sockets in SYN_SENT."),
    ("tenant_share", "The tenant's connections in percent of the limit, without one of all."),
    ("tenants", "Tenants with connections."),
    ("time_wait", "Sockets in TIME_WAIT."),
    ("time_wait_ratio", "TIME_WAIT in percent of ESTABLISHED."),
    ("unknown", "Connections whose tenant can't be told."),
    ("unread", "Connections whose process has left data unread for the minimal age."),
    ("unsent", "Connections whose peer has taken nothing for the minimal age."),
    ("used", "Percent of what runs out first."),
];

/// All samples of a name stand together, after one HELP and TYPE.
struct Family {
    name: &'static str,
    samples: String,
}

/// One file of several services, which no two reports may share.
pub fn render(reports: &[Report]) -> String {
    let mut families: Vec<Family> = Vec::new();
    let mut put = |name, labels: &str, value: f64| {
        let at = families.iter().position(|family| family.name == name).unwrap_or_else(|| {
            families.push(Family { name, samples: String::new() });
            families.len() - 1
        });
        let _ = writeln!(families[at].samples, "connleak_{name}{{{labels}}} {value}");
    };
    for report in reports {
        let labels = labels(report);
        put("state", &labels, f64::from(report.state.exit_code()));
        for metric in &report.metrics {
            if let Some(value) = metric.value {
                put(metric.name, &labels, value);
            }
        }
        for part in &report.parts {
            if let Some(value) = part.metric.value {
                let labels = format!("{labels},tenant=\"{}\"", escaped(&part.tenant));
                put(part.metric.name, &labels, value);
            }
        }
        for share in &report.shares {
            let labels = format!("{labels},owner=\"{}\"", escaped(&share.owner));
            put("owner_sockets", &labels, share.sockets as f64);
        }
    }
    let text = |family: &Family| {
        let Family { name, samples } = family;
        let help = METRICS.iter().find(|(known, _)| known == name).map_or("", |(_, help)| help);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_stands_once_in_the_table() {
        assert!(METRICS.is_sorted_by(|(one, _), (next, _)| one < next));
        assert!(METRICS.iter().all(|(_, help)| help.ends_with('.') && !help.contains(['\\', '\n'])));
    }
}
