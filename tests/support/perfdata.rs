//! A strict reader of plugin output: what it accepts, every scheduler and grapher understands.

#![allow(dead_code, reason = "each test file uses a part")]

/// `NAME STATE - text | perfdata`, then long text.
#[derive(Debug)]
pub struct Output {
    pub name: String,
    pub state: String,
    pub text: String,
    /// Empty where the check ended before it could look.
    pub metrics: Vec<Metric>,
    pub long_text: Vec<String>,
}

/// `label=value[unit];warning;critical;min;`
#[derive(Debug, PartialEq)]
pub struct Metric {
    pub label: String,
    pub value: f64,
    pub unit: String,
    pub warning: String,
    pub critical: String,
    pub min: String,
}

impl Output {
    pub fn exit_code(&self) -> i32 {
        ["OK", "WARNING", "CRITICAL", "UNKNOWN"].iter().position(|state| *state == self.state).unwrap() as i32
    }

    pub fn value(&self, label: &str) -> Option<f64> {
        self.metrics.iter().find(|metric| metric.label == label).map(|metric| metric.value)
    }
}

/// Reads a verdict: it has perfdata, and exactly one pipe in the whole output.
pub fn parse(output: &str) -> Result<Output, String> {
    let (text, perfdata) = match output.split('|').collect::<Vec<_>>()[..] {
        [text, _] if text.contains('\n') => return Err("no perfdata in the first line".to_owned()),
        [text, rest] => {
            let (perfdata, long) = rest.split_once('\n').ok_or("no newline after the perfdata")?;
            (format!("{}\n{long}", text.strip_suffix(' ').ok_or("no space before the pipe")?), perfdata)
        }
        ref parts => return Err(format!("{} pipes, wanted 1", parts.len() - 1)),
    };
    let first_line = output.lines().next().unwrap_or_default().len();
    if first_line > 900 {
        return Err(format!("first line of {first_line} bytes, wanted at most 900"));
    }
    let mut parsed = parse_bare(&text)?;
    let perfdata = perfdata.strip_prefix(' ').ok_or("no space after the pipe")?;
    for item in perfdata.split(' ') {
        let metric = metric(item).map_err(|why| format!("{why} in '{item}'"))?;
        if parsed.value(&metric.label).is_some() {
            return Err(format!("label '{}' twice", metric.label));
        }
        parsed.metrics.push(metric);
    }
    Ok(parsed)
}

/// Reads the line of a check that could not look: no perfdata, so no pipe.
pub fn parse_bare(output: &str) -> Result<Output, String> {
    if let Some(bad) = output.chars().find(|c| (c.is_control() && *c != '\n') || matches!(c, '|' | '=')) {
        return Err(format!("character {bad:?} in the text"));
    }
    let (first, long) = output.split_once('\n').ok_or("no newline at the end")?;
    let (head, text) = first.split_once(" - ").ok_or("no ' - ' in the first line")?;
    let (name, state) = head.split_once(' ').ok_or("no state after the name")?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') {
        return Err(format!("bad name '{name}'"));
    }
    if !["OK", "WARNING", "CRITICAL", "UNKNOWN"].contains(&state) {
        return Err(format!("bad state '{state}'"));
    }
    if text.trim() != text || text.is_empty() {
        return Err(format!("bad text '{text}'"));
    }
    if !long.is_empty() && (!long.ends_with('\n') || long.contains("\n\n")) {
        return Err("the long text has an empty or an open line".to_owned());
    }
    let (name, state, text) = (name.to_owned(), state.to_owned(), text.to_owned());
    Ok(Output { name, state, text, metrics: Vec::new(), long_text: long.lines().map(str::to_owned).collect() })
}

fn metric(item: &str) -> Result<Metric, String> {
    let (label, fields) = item.split_once('=').ok_or("no =")?;
    if label.is_empty() || !label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err(format!("bad label '{label}'"));
    }
    let fields: Vec<&str> = fields.split(';').collect();
    let [value, warning, critical, min, ""] = fields[..] else {
        return Err(format!("{} fields, wanted value;warning;critical;min; and nothing after", fields.len()));
    };
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    let unit = &value[digits.len()..];
    if !["", "s", "B", "%"].contains(&unit) {
        return Err(format!("bad unit '{unit}'"));
    }
    if ![warning, critical].iter().all(|range| range.is_empty() || is_range(range)) {
        return Err(format!("bad range '{warning}' or '{critical}'"));
    }
    if !min.is_empty() {
        number(min)?;
    }
    let [label, unit, warning, critical, min] = [label, unit, warning, critical, min].map(str::to_owned);
    Ok(Metric { label, value: number(digits)?, unit, warning, critical, min })
}

/// `10`, `~:10`, `5:`, `@1:2`; `0:10` has the shorter form `10`.
fn is_range(text: &str) -> bool {
    let text = text.strip_prefix('@').unwrap_or(text);
    match text.split_once(':') {
        None => number(text).is_ok(),
        Some(("0", end)) if !end.is_empty() => false,
        Some((start, end)) => (start == "~" || number(start).is_ok()) && (end.is_empty() || number(end).is_ok()),
    }
}

/// Digits with at most one point and a sign: no exponent, no `inf`, no comma.
fn number(text: &str) -> Result<f64, String> {
    let plain = text.strip_prefix('-').unwrap_or(text);
    let parts: Vec<&str> = plain.split('.').collect();
    let all_digits = parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if parts.len() > 2 || !all_digits {
        return Err(format!("bad number '{text}'"));
    }
    text.parse().map_err(|_| format!("bad number '{text}'"))
}

#[test]
fn the_parser_reads_what_the_contract_allows() {
    let output =
        parse("CLOSEWAIT WARNING - text: 7 | close_wait=7;~:3;@1:2;0; a_b=1.5s;5:;10;; c=0%;;;0;\nmore\n").unwrap();
    assert_eq!((output.name.as_str(), output.exit_code(), output.text.as_str()), ("CLOSEWAIT", 1, "text: 7"));
    assert_eq!((output.value("a_b"), output.value("c"), output.value("d")), (Some(1.5), Some(0.0), None));
    assert_eq!(output.long_text, ["more"]);
    assert!(parse_bare("CLOSEWAIT UNKNOWN - what?\n").unwrap().metrics.is_empty());
}

#[test]
fn the_parser_refuses_what_the_contract_forbids() {
    let bad = [
        "a=1;;;0",
        "a=1;;;0;;",
        "a=1;;;0;10;",
        "A=1;;;0;",
        "'a'=1;;;0;",
        "a-b=1;;;0;",
        "a=1e3;;;0;",
        "a=1c;;;0;",
        "a=1ms;;;0;",
        "a=;;;0;",
        "a=U;;;0;",
        "a=1,5;;;0;",
        "a=inf;;;0;",
        "a=1;0:10;;0;",
        "a=1;x;;0;",
        "a=1;;;x;",
        "a=1;;;0; a=2;;;0;",
        "a=1;;;0;  b=2;;;0;",
        "a=1;;;0; ",
        "",
        "a=1;;;0;|b=1;;;0;",
        "a=1.;;;0;",
        "a=+1;;;0;",
    ];
    for perfdata in bad {
        assert!(parse(&format!("X OK - fine | {perfdata}\n")).is_err(), "{perfdata}");
    }
    let good = "a=1;;;0;";
    for line in [
        "X OK - fine",
        "X OK fine |",
        "X OKAY - fine |",
        "x OK - fine |",
        "X OK -  |",
        "X OK - b=1 |",
        "X OK - \u{1b}[1m |",
        "X OK - a | b |",
        "X OK - fine  |",
        "X OK - fine\nmore |",
    ] {
        assert!(parse(&format!("{line} {good}\n")).is_err(), "{line}");
    }
    for output in ["X OK - fine | a=1;;;0;", "X OK - fine | a=1;;;0;\nmore", "X OK - fine | a=1;;;0;\na|b\n"] {
        assert!(parse(output).is_err(), "{output}");
    }
    assert!(parse(&format!("X OK - {} | {good}\n", "y".repeat(890))).is_err());
}
