//! The page: headline, key figures, chart and numbers of each recording, in one file without a link.

use super::estimate::{Estimate, Judge};
use super::figure::{Drawn, figure};
use super::words;
use askama::Template;
use plotly::Plot;
use serde_json::{Value, json};

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    title: &'a str,
    made: String,
    sections: Vec<Section>,
    /// For the page's script, one entry for each section.
    data: Vec<Value>,
    /// plotly.js itself.
    library: &'a str,
}

struct Section {
    name: String,
    place: String,
    headline: String,
    /// `leak`, `rise` or `calm`.
    mood: &'static str,
    facts: Vec<Fact>,
    notes: Vec<String>,
}

struct Fact {
    label: &'static str,
    value: String,
    more: String,
}

/// What the check itself last thought, where it was not a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calm {
    Learning,
    Steady,
    /// Only counts are known.
    Unjudged,
}

/// One recording and what is known of it.
pub struct Chart<'a> {
    pub drawn: Drawn<'a>,
    pub calm: Calm,
}

/// `now`: seconds since 1970.
pub fn html(title: &str, charts: &[Chart], now: f64) -> Result<String, String> {
    let (mut sections, mut data) = (Vec::new(), Vec::new());
    for chart in charts {
        let figure = figure(&chart.drawn);
        let plot: Value = serde_json::from_str(&figure.plot.to_json()).map_err(|why| why.to_string())?;
        data.push(json!({ "times": figure.times, "plot": plot }));
        sections.push(section(chart, figure.rows));
    }
    let scripts = Plot::offline_js_sources();
    let (library, _) = scripts.split_once("</script>").ok_or("the plotting library has another form")?;
    let library = library.split_once('>').map_or(library, |(_, library)| library);
    // One chart needs no name beside the title's.
    if let [section] = sections.as_mut_slice()
        && title.contains(section.name.trim_end_matches(" both"))
    {
        section.name.clear();
    }
    let made = format!("{} UTC", words::instant(now));
    Page { title, made, sections, data, library }.render().map_err(|why| why.to_string())
}

fn section(chart: &Chart, rows: usize) -> Section {
    let recording = chart.drawn.recording;
    let (headline, mood) = match chart.drawn.estimate {
        Some(estimate) => estimate_text(estimate),
        None => match chart.calm {
            Calm::Learning => ("Learning: too few samples to judge".to_owned(), "calm"),
            Calm::Steady => ("Steady: nothing speaks of a leak".to_owned(), "calm"),
            Calm::Unjudged => ("No lasting rise in these counts".to_owned(), "calm"),
        },
    };
    let mut notes: Vec<String> = recording.notes.iter().map(|note| words::plain(note)).collect();
    if rows < recording.times.len() {
        let [all, rows] = [recording.times.len(), rows].map(|rows| words::number(rows as f64));
        notes.push(format!("{all} samples: the lowest and the highest of each stretch are in this page ({rows})."));
    }
    if recording.spoken.is_none() && !chart.drawn.alarms.is_empty() {
        let note = "Alarms are those of the detector that knows no more than these counts; check_conn_growth, which sees \
                    each socket, speaks earlier.";
        notes.push(note.to_owned());
    }
    Section {
        name: words::plain(&recording.name),
        place: words::plain(&recording.place),
        headline: words::plain(&headline),
        mood,
        facts: facts(chart),
        notes,
    }
}

fn estimate_text(estimate: &Estimate) -> (String, &'static str) {
    let since = format!("{} since {} UTC", words::rate(estimate.rate), words::instant(estimate.onset));
    let full = match estimate.left {
        Some(left) if left.likely > 0.0 => {
            let [likely, earliest, latest] = [left.likely, left.earliest, left.latest].map(words::span);
            format!(", full in {likely} ({earliest} to {latest})")
        }
        Some(_) => ", the limit is reached".to_owned(),
        None => String::new(),
    };
    match &estimate.judge {
        Judge::Leak { group, suspects } => (format!("Leak in {group}: {since}{full}; {suspects} suspects"), "leak"),
        Judge::Load => (format!("Growing with load, not a leak: {since}{full} if it goes on"), "rise"),
        Judge::Counts => {
            (format!("Rising: {since}{full} if it goes on; counts alone can't tell a leak from load"), "rise")
        }
    }
}

fn facts(chart: &Chart) -> Vec<Fact> {
    let (recording, estimate) = (chart.drawn.recording, chart.drawn.estimate);
    let known = || recording.connections.iter().copied().filter(|count| count.is_finite());
    let now = known().next_back().unwrap_or(0.0);
    let highest = known().fold(0.0, f64::max);
    let mut facts =
        vec![Fact { label: "In use", value: words::number(now), more: format!("highest {}", words::number(highest)) }];
    if let Some(limit) = recording.last_limit() {
        let used = now * 100.0 / limit.max(1.0);
        facts.push(Fact {
            label: "Limit",
            value: words::number(limit),
            more: format!("{}% used", words::number(used)),
        });
    }
    if let Some(estimate) = estimate {
        let ago = format!("since {} ago", words::span(estimate.now - estimate.onset));
        facts.push(Fact { label: "Growth", value: words::rate(estimate.rate), more: ago });
        if let Some(left) = estimate.left {
            let more = format!("{} to {}", words::span(left.earliest), words::span(left.latest));
            facts.push(Fact { label: "Time left", value: words::span(left.likely), more });
        }
    }
    let alarmed: f64 =
        chart.drawn.alarms.iter().map(|alarm| recording.times[alarm.to] - recording.times[alarm.from]).sum();
    let more = if alarmed > 0.0 { format!("{} in all", words::span(alarmed)) } else { String::new() };
    facts.push(Fact { label: "Alarms", value: chart.drawn.alarms.len().to_string(), more });
    if !recording.restarts.is_empty() {
        let last = recording.restarts.last().map_or(0.0, |restart| recording.times[restart.at]);
        let more = format!("last {}", words::instant(last));
        facts.push(Fact { label: "Restarts", value: recording.restarts.len().to_string(), more });
    }
    let (first, last) =
        (recording.times.first().copied().unwrap_or(0.0), recording.times.last().copied().unwrap_or(0.0));
    let more = match recording.times.len() {
        1 => words::instant(first),
        _ => format!("in {}, one each {}", words::span(last - first), words::span(recording.pace())),
    };
    facts.push(Fact { label: "Samples", value: words::number(recording.times.len() as f64), more });
    facts
}
