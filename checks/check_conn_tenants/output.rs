//! Tenants and poolers as lines, JSON and metrics.

use super::tenancy::census::{Counts, Rules, Tenant, connections, display_name};
use super::tenancy::found::Found;
use super::tenancy::pooler::Pooler;
use connleak::report::{Metric, Part, Unit};
use serde_json::{Value, json};

/// `pooler pgbouncer[7]: 20 with clients, 5 with servers`.
pub fn pooler_words(pooler: &Pooler) -> String {
    let Pooler { pid, command, client_side, server_side, .. } = pooler;
    format!(
        "pooler {command}[{pid}]: {} with clients, {} with servers",
        client_side.connections, server_side.connections
    )
}

pub fn details(rules: &Rules, found: &Found, verbose: u8, top: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if verbose > 0 {
        lines.extend(found.census.tenants.iter().take(top).map(|tenant| {
            let share = rules.share(tenant.counts.connections, &found.census);
            let counts = tenant.counts;
            let idle = if found.idle_known { format!(", {} idle", counts.idle) } else { String::new() };
            let spares = if counts.spares > 0 { format!(", {} spares", counts.spares) } else { String::new() };
            format!(
                "tenant {}: {}, {share}%, {} in CLOSE_WAIT{idle}{spares}",
                display_name(&tenant.name),
                connections(counts.connections),
                counts.close_wait
            )
        }));
        lines.extend(found.poolers.iter().take(top).map(|pooler| {
            let side = |counts: &Counts| format!("{} in CLOSE_WAIT, {} idle", counts.close_wait, counts.idle);
            let (clients, servers) = (side(&pooler.client_side), side(&pooler.server_side));
            format!("{} (client side {clients}; server side {servers})", pooler_words(pooler))
        }));
    }
    lines
}

pub fn tenants(rules: &Rules, found: &Found, labels: &[String], named: &[usize], outliers: &[usize]) -> Value {
    let tenants = found.census.tenants.iter().zip(labels).enumerate().map(|(index, (tenant, label))| {
        json!({
            "name": tenant.name,
            "label": format!("tenant_{label}"),
            "connections": tenant.counts.connections,
            "share": rules.share(tenant.counts.connections, &found.census),
            "close_wait": tenant.counts.close_wait,
            "idle": found.idle_known.then_some(tenant.counts.idle),
            "spares": tenant.counts.spares,
            "outlier": outliers.contains(&index),
            "problem": named.contains(&index),
        })
    });
    tenants.collect()
}

pub fn unknown(found: &Found) -> Value {
    let (counts, [elsewhere, unread, unmatched]) = (&found.census.unknown, found.census.why);
    json!({
        "connections": counts.connections, "close_wait": counts.close_wait,
        "idle": found.idle_known.then_some(counts.idle),
        "elsewhere": elsewhere, "unread": unread, "unmatched": unmatched,
    })
}

/// Tenants in performance data: the first line must have room for words.
const MOST_PARTS: usize = 5;

pub fn parts(rules: &Rules, found: &Found, labels: &[String]) -> Vec<Part> {
    let part = |(tenant, label): (&Tenant, &String)| Part {
        label: format!("tenant_{label}"),
        tenant: tenant.name.clone(),
        metric: Metric::new("tenant_share", Unit::Percent, Some(rules.share(tenant.counts.connections, &found.census))),
    };
    found.census.tenants.iter().zip(labels).take(MOST_PARTS).map(part).collect()
}

pub fn metrics(rules: &Rules, found: &Found, outliers: usize, parts: usize) -> Vec<Metric> {
    let census = &found.census;
    let share = |name, connections| Metric::new(name, Unit::Percent, Some(rules.share(connections, census)));
    let shown = census.tenants.iter().take(parts).map(|tenant| tenant.counts.connections).sum::<u64>();
    let all = census.tenants.iter().map(|tenant| tenant.counts.connections).sum::<u64>();
    let idle = found.idle_known.then(|| census.most(|counts| counts.idle) as f64);
    let side = |of: fn(&Pooler) -> u64| found.poolers.iter().map(of).sum::<u64>();
    vec![
        share("share_max", census.most(|counts| counts.connections)).within(rules.share),
        Metric::count("close_wait_max", census.most(|counts| counts.close_wait)).within(rules.close_wait),
        Metric::new("idle_max", Unit::None, idle).within(rules.idle),
        Metric::count("outliers", outliers as u64).within(rules.outliers),
        Metric::count("tenants", census.tenants.len() as u64),
        Metric::count("connections", census.total),
        Metric::count("unknown", census.unknown.connections),
        Metric::count("pooled", census.pooled.connections),
        Metric::count("pooler_clients", side(|pooler| pooler.client_side.connections)),
        Metric::count("pooler_servers", side(|pooler| pooler.server_side.connections)),
        share("share_other", all - shown),
    ]
}
