//! A strict reader of node_exporter's textfile format, as far as the suite uses it.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;

/// A sample's labels and value by its name; of a tenant, with that.
pub type Samples = BTreeMap<String, (BTreeMap<String, String>, f64)>;

/// The text format: HELP, TYPE and sample of each family in this order, each family once. Only that of
/// the tenants has several samples, or none.
pub fn read(output: &str) -> Result<Samples, String> {
    if !output.ends_with('\n') {
        return Err("the last line is not ended".into());
    }
    let mut lines = output.lines().peekable();
    let mut samples = BTreeMap::new();
    while let Some(help) = lines.next() {
        let kind = lines.next().ok_or("no TYPE")?;
        let family: Vec<_> = std::iter::from_fn(|| lines.next_if(|line| !line.starts_with('#'))).collect();
        let help = help.strip_prefix("# HELP ").ok_or(format!("no HELP: {help}"))?;
        let (name, words) = help.split_once(' ').ok_or(format!("no words: {help}"))?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if words.trim().is_empty() || !name.strip_prefix("connleak_").is_some_and(|rest| rest.bytes().all(plain)) {
            return Err(format!("HELP {help}"));
        }
        if kind != format!("# TYPE {name} gauge") {
            return Err(format!("TYPE of {name}: {kind}"));
        }
        if family.len() != 1 && name != "connleak_tenant_share" {
            return Err(format!("{} samples of {name}", family.len()));
        }
        for sample in family {
            let rest = sample.strip_prefix(name).and_then(|rest| rest.strip_prefix('{'));
            let (labels, value) = rest.and_then(|rest| rest.split_once("} ")).ok_or(format!("sample {sample}"))?;
            if !is_number(value) {
                return Err(format!("'{value}' is no plain number"));
            }
            let value = value.parse().map_err(|_| format!("value {value}"))?;
            let mut labels = labels_of(labels)?;
            let tenant = labels.remove("tenant").map_or(String::new(), |tenant| format!(" {tenant}"));
            if samples.insert(format!("{name}{tenant}"), (labels, value)).is_some() {
                return Err(format!("family {name} twice"));
            }
        }
    }
    Ok(samples)
}

fn labels_of(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or(format!("labels {text}"))?;
        // None of our labels needs an escape; one would be a surprise worth a failure.
        let (value, after) = after.split_once('"').ok_or(format!("labels {text}"))?;
        if !name.bytes().all(|byte| byte.is_ascii_lowercase()) || value.contains('\\') {
            return Err(format!("label {name}"));
        }
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("label {name} twice"));
        }
        rest = match after.strip_prefix(',') {
            Some(more) if !more.is_empty() => more,
            None if after.is_empty() => "",
            _ => return Err(format!("labels {text}")),
        };
    }
    Ok(labels)
}

fn is_number(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    digits(whole) && digits(fraction)
}

#[test]
fn the_prometheus_parser_is_strict() {
    let family = |sample: &str| format!("# HELP connleak_a Words.\n# TYPE connleak_a gauge\n{sample}\n");
    let good = family("connleak_a{check=\"x\",port=\"1,2\"} 5.5");
    assert_eq!(read(&good).unwrap()["connleak_a"].0["port"], "1,2");
    assert!(read(&good.repeat(2)).is_err(), "a family twice");
    assert!(read(good.trim_end()).is_err(), "no last newline");
    assert!(read(&good.replace(" gauge", " counter")).is_err());
    assert!(read(&good.replace(" Words.", "")).is_err());
    for bad in [
        "connleak_a{check=\"x\"} NaN",
        "connleak_a{check=\"x\"} 1e5",
        "connleak_a{check=\"x\"}5",
        "connleak_b{check=\"x\"} 5",
        "connleak_a 5",
        "connleak_a{check=\"x\",} 5",
        "connleak_a{check=\"x\",check=\"y\"} 5",
        "connleak_a{check=x} 5",
        "connleak_a{check=\"x} 5",
        "connleak_a{check=\"x\"} 5 123",
    ] {
        assert!(read(&family(bad)).is_err(), "{bad}");
    }
}
