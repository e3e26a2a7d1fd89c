//! One JSON object. Keys are never removed; new ones may come.

use super::{Metric, Report, Service};
use crate::report::range::Range;
use serde_json::{Map, Value, json};

pub fn render(report: &Report) -> String {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("schema", json!(1));
    put("check", json!(report.check));
    put("state", json!(report.state.to_string()));
    put("exit_code", json!(report.state.exit_code()));
    put("summary", json!(report.summary(usize::MAX)));
    put("service", report.service.as_ref().map_or(Value::Null, service));
    put("metrics", report.labelled().filter_map(metric).collect());
    put("reasons", json!(report.reasons));
    put("missing", json!(report.missing));
    put("owners", json!(report.owners));
    put("complete", json!(report.complete));
    object.extend(report.extra.clone());
    // A scheduler that takes JSON for plugin output must not find perfdata in a process name.
    Value::Object(object).to_string().replace('|', "\\u007c") + "\n"
}

fn service(service: &Service) -> Value {
    json!({"profile": service.profile, "ports": service.ports, "side": service.side.name()})
}

fn metric((label, metric): (&str, &Metric)) -> Option<Value> {
    let range = |range: Option<Range>| range.map(|range| range.to_string());
    Some(json!({
        "name": label,
        "value": number(metric.value?),
        "unit": metric.unit.symbol(),
        "warning": range(metric.limits.warning),
        "critical": range(metric.limits.critical),
        "min": 0,
        "max": null,
    }))
}

/// Counts as integers: `7`, not `7.0`.
fn number(value: f64) -> Value {
    let whole = value as i64;
    if whole as f64 == value { json!(whole) } else { json!(value) }
}
