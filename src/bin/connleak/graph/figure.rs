//! One recording as traces and layout for plotly.js.
//!
//! Colours are names of the page's style sheet (`--ink`), so that both themes draw the same figure.
//! Traces without times of their own take the page's: they are sent once.

use super::estimate::{Estimate, Judge};
use super::recording::{Column, Recording};
use super::replay::Alarm;
use super::rows;
use super::words;
use plotly::common::{
    Anchor, DashType, Fill, Font, HoverInfo, Label, LegendGroupTitle, Line, LineShape, Marker, MarkerSymbol, Mode,
    Title, Visible,
};
use plotly::layout::{
    Annotation, Axis, AxisType, HoverMode, Legend, Margin, RangeMode, Shape, ShapeLayer, ShapeLine, ShapeType,
    SpikeMode, TicksDirection, TraceOrder,
};
use plotly::{Layout, Plot, Scatter, Trace};

/// Rows in the page; of more, the lowest and the highest of each stretch.
const MOST_ROWS: usize = 150_000;
/// Rows up to which each is marked.
const FEW: usize = 60;
/// Seconds that the time shown has at least.
const SHORTEST: f64 = 60.0;
/// A forecast is drawn for at most this share of the time shown.
const AHEAD: f64 = 0.8;
/// A limit this many times above all else would press the lines flat: it is left out of the picture.
const FAR: f64 = 4.0;

/// The vertical places of the three panels: events, states, owners.
const EVENTS: [f64; 2] = [0.955, 1.0];
const STATES: [f64; 2] = [0.37, 0.94];
const STATES_ALONE: [f64; 2] = [0.0, 0.94];
const OWNERS: [f64; 2] = [0.0, 0.27];

/// All that is drawn.
pub struct Drawn<'a> {
    pub recording: &'a Recording,
    pub estimate: Option<&'a Estimate>,
    pub alarms: &'a [Alarm],
}

pub struct Figure {
    pub plot: Plot,
    /// Milliseconds since 1970 of the traces that have none.
    pub times: Vec<i64>,
    /// Samples in it.
    pub rows: usize,
}

type Lines = Scatter<i64, f64>;

pub fn figure(drawn: &Drawn) -> Figure {
    let recording = drawn.recording;
    let kept = rows::kept(&recording.connections, MOST_ROWS);
    let rows = rows::with_gaps(&kept, &recording.gaps());
    let millis = |seconds: f64| (seconds * 1000.0).round() as i64;
    let times = rows.iter().map(|row| millis(row.at(&recording.times))).collect();
    let mut plot = Plot::new();
    // A line of few points may have none between gaps: they must show by themselves.
    let mode = || if kept.len() <= FEW { Mode::LinesMarkers } else { Mode::Lines };
    let series = |column: &Column| {
        let values = rows.iter().map(|row| row.of(&column.values)).collect();
        Scatter::new(Vec::<i64>::new(), values).name(words::label(&column.name)).mode(mode())
    };
    for (index, column) in recording.columns.iter().enumerate() {
        plot.add_trace(drawn.state(series(column), column, index));
    }
    if !recording.columns.iter().any(|column| column.name == recording.counted) {
        let all = Column { name: "in use".to_owned(), values: recording.connections.clone() };
        let line = Line::new().color("--ink").width(2.2);
        plot.add_trace(series(&all).line(line).legend_group("states"));
    }
    if let Some(limit) = recording.limit.as_ref().filter(|_| drawn.shows_limit()) {
        let line = Line::new().color("--limit").width(1.6).dash(DashType::LongDash).shape(LineShape::Hv);
        plot.add_trace(
            series(limit).name("limit").mode(Mode::Lines).line(line.clone()).legend_group("states").connect_gaps(true),
        );
        let end = [drawn.span().1, drawn.horizon()].map(millis).to_vec();
        let on = Scatter::new(end, vec![drawn.limit(); 2]).name("limit to come").mode(Mode::Lines).line(line);
        plot.add_trace(on.legend_group("states").show_legend(false).hover_info(HoverInfo::Skip));
    }
    if let Some(estimate) = drawn.estimate {
        plot.add_traces(drawn.future(estimate));
    }
    plot.add_traces(drawn.events());
    for (index, owner) in recording.owners.iter().enumerate() {
        let colour = if owner.name == "all others" { "--other".to_owned() } else { format!("--owner-{}", index + 1) };
        let line = Line::new().color(colour.clone()).width(0.8);
        let area = series(owner).line(line).fill_color(format!("{colour}-fill")).stack_group("owners");
        plot.add_trace(grouped(area.y_axis("y2"), "owners", (index == 0).then_some("Owners")));
    }
    for column in &recording.beside {
        plot.add_trace(series(column).visible(Visible::False));
    }
    plot.set_layout(drawn.layout());
    Figure { plot, times, rows: kept.len() }
}

fn grouped(trace: Box<Lines>, group: &str, title: Option<&str>) -> Box<Lines> {
    let trace = trace.legend_group(group);
    match title {
        Some(title) => trace.legend_group_title(LegendGroupTitle::with_text(title)),
        None => trace,
    }
}

impl Drawn<'_> {
    fn state(&self, trace: Box<Lines>, column: &Column, index: usize) -> Box<Lines> {
        let known = ["ESTABLISHED", "CLOSE_WAIT", "TIME_WAIT", "FIN_WAIT1", "FIN_WAIT2", "SYN_RECV", "LAST_ACK"];
        let name = column.name.to_ascii_uppercase();
        let colour = match known.iter().position(|known| *known == name) {
            Some(_) => format!("--{}", name.to_ascii_lowercase().replace('_', "-")),
            None if name == "LISTEN" => "--other".to_owned(),
            None => format!("--owner-{}", index % 7 + 1),
        };
        let main = column.name == self.recording.counted;
        let width = if name == "TIME_WAIT" { 1.0 } else { 1.6 };
        let (colour, width) = if main { ("--ink".to_owned(), 2.2) } else { (colour, width) };
        let trace =
            grouped(trace.line(Line::new().color(colour).width(width)), "states", (index == 0).then_some("States"));
        // Listeners are no connections.
        if name == "LISTEN" { trace.visible(Visible::LegendOnly) } else { trace }
    }

    fn span(&self) -> (f64, f64) {
        let times = &self.recording.times;
        (times.first().copied().unwrap_or(0.0), times.last().copied().unwrap_or(0.0))
    }

    /// Until when the forecast is drawn.
    fn horizon(&self) -> f64 {
        let (first, last) = self.span();
        let left = self.estimate.and_then(|estimate| estimate.left);
        let ahead = left.map_or(0.0, |left| left.latest.min(left.likely * 1.6).min((last - first) * AHEAD));
        last.max(first + SHORTEST) + ahead
    }

    /// The highest that is drawn, the limit apart.
    fn top(&self) -> f64 {
        let drawn = self.recording.columns.iter().flat_map(|column| &column.values);
        let top =
            drawn.chain(&self.recording.connections).copied().filter(|value| value.is_finite()).fold(1.0, f64::max);
        match self.estimate {
            Some(estimate) if estimate.left.is_some() => {
                top.max(estimate.level + estimate.rate * (self.horizon() - estimate.now)).min(top.max(self.limit()))
            }
            _ => top,
        }
    }

    fn limit(&self) -> f64 {
        self.recording.last_limit().unwrap_or(0.0)
    }

    fn shows_limit(&self) -> bool {
        self.recording.limit.is_some() && self.limit() <= FAR * self.top()
    }

    /// Trend and forecast with its band.
    fn future(&self, estimate: &Estimate) -> Vec<Box<dyn Trace>> {
        let millis = |seconds: f64| (seconds * 1000.0).round() as i64;
        let segment = |from: (f64, f64), to: (f64, f64)| (vec![millis(from.0), millis(to.0)], vec![from.1, to.1]);
        let grows = estimate.rate * (estimate.now - estimate.onset);
        let now = (estimate.now, estimate.level);
        let title = |trace: Box<Lines>, first: bool| {
            grouped(trace.hover_info(HoverInfo::Skip), "estimate", first.then_some("Estimate"))
        };
        let line = |dash: DashType| Line::new().color("--estimate").width(2.4).dash(dash);
        let (x, y) = segment((estimate.onset, (estimate.level - grows).max(0.0)), now);
        let trend = Scatter::new(x, y).name("trend").mode(Mode::Lines).line(line(DashType::Solid));
        let mut traces: Vec<Box<dyn Trace>> = Vec::new();
        if let Some(left) = estimate.left.filter(|left| left.likely > 0.0 && self.limit() > estimate.level) {
            let end = self.horizon();
            // Where a straight line to the limit is when the drawing ends.
            let at = |left: f64| {
                let share = ((end - estimate.now) / left.max(1.0)).min(1.0);
                (estimate.now + left.max(1.0) * share, estimate.level + (self.limit() - estimate.level) * share)
            };
            let (early, late) = (at(left.earliest), at(left.latest));
            let corner = (late.0, early.1.max(late.1));
            let outline = [now, early, corner, late, now];
            let (x, y) = outline.iter().map(|(time, count)| (millis(*time), *count)).unzip();
            let band = Scatter::new(x, y).name("earliest to latest").mode(Mode::Lines).fill(Fill::ToSelf);
            let band = band.fill_color("--band").line(Line::new().color("--band").width(0.0));
            traces.push(title(band, false));
            let (x, y) = segment(now, at(left.likely));
            traces.push(title(Scatter::new(x, y).name("forecast").mode(Mode::Lines).line(line(DashType::Dot)), false));
        }
        traces.insert(0, title(trend, true));
        traces
    }

    /// The strip above the chart: alarms, restarts, the onset.
    fn events(&self) -> Vec<Box<dyn Trace>> {
        let millis = |seconds: f64| (seconds * 1000.0).round() as i64;
        let times = &self.recording.times;
        let mut traces: Vec<Box<dyn Trace>> = Vec::new();
        let strip = |trace: Box<Lines>, first: bool| grouped(trace.y_axis("y3"), "events", first.then_some("Events"));
        if !self.alarms.is_empty() {
            let (mut x, mut y, mut text) = (Vec::new(), Vec::new(), Vec::new());
            for alarm in self.alarms {
                let (from, to) = (times[alarm.from], times[alarm.to]);
                let lasts = format!("alarm from {} for {}", words::instant(from), words::span(to - from));
                x.extend([millis(from), millis(to), millis(to)]);
                y.extend([0.5, 0.5, f64::NAN]);
                text.extend([lasts.clone(), lasts, String::new()]);
            }
            let bar = Scatter::new(x, y).name("alarm").mode(Mode::LinesMarkers).hover_text_array(text);
            let marker = Marker::new().color("--alarm").size(9).symbol(MarkerSymbol::Circle);
            let bar = bar.line(Line::new().color("--alarm").width(9.0)).marker(marker).hover_template("%{hovertext}");
            traces.push(strip(bar, true));
        }
        for (of_machine, name, symbol) in
            [(false, "service restarted", MarkerSymbol::Diamond), (true, "machine booted", MarkerSymbol::Cross)]
        {
            let here = self.recording.restarts.iter().filter(|restart| restart.of_machine == of_machine);
            let x: Vec<i64> = here.map(|restart| millis(times[restart.at])).collect();
            if !x.is_empty() {
                let y = vec![0.5; x.len()];
                let marker = Marker::new().color("--ink").size(9).symbol(symbol);
                let trace = Scatter::new(x, y).name(name).mode(Mode::Markers).marker(marker).hover_template(name);
                traces.push(strip(trace, traces.is_empty()));
            }
        }
        traces
    }

    fn layout(&self) -> Layout {
        let (first, _) = self.span();
        let owners = !self.recording.owners.is_empty();
        let top = if self.shows_limit() { self.top().max(self.limit()) } else { self.top() };
        let millis = |seconds: f64| seconds * 1000.0;
        let time = axis().type_(AxisType::Date).range(vec![millis(first), millis(self.horizon())]);
        let time = time.anchor(if owners { "y2" } else { "y" }).hover_format("%Y-%m-%d %H:%M:%S");
        let time = time.show_grid(false).ticks(TicksDirection::Outside).tick_length(5).tick_color("--line");
        let time = time.show_spikes(true).spike_mode(SpikeMode::Across).spike_thickness(1).spike_color("--muted");
        let time = time.spike_dash(DashType::Dot).show_line(true);
        let states = axis().domain(if owners { &STATES } else { &STATES_ALONE }).title(titled("connections"));
        let states = states.range(vec![0.0, top * 1.16]).range_mode(RangeMode::ToZero);
        let of_owners = axis().domain(&OWNERS).title(titled("by owner")).range_mode(RangeMode::ToZero);
        let events = Axis::new().domain(&EVENTS).range(vec![0.0, 1.0]).fixed_range(true).visible(false);
        let font = Font::new().family("--font").size(13).color("--ink");
        let layout = Layout::new()
            .font(font.clone())
            .paper_background_color("--paper")
            .plot_background_color("--paper")
            .hover_mode(HoverMode::XUnified)
            .hover_distance(60)
            .hover_label(Label::new().background_color("--card").border_color("--line").font(font).name_length(-1))
            .legend(Legend::new().trace_order(TraceOrder::Grouped).trace_group_gap(14).background_color("--paper"))
            .margin(Margin::new().left(64).right(16).top(34).bottom(44))
            .x_axis(time)
            .y_axis(states)
            .y_axis3(events)
            .shapes(self.shapes())
            .annotations(self.annotations());
        if owners { layout.y_axis2(of_owners) } else { layout }
    }

    fn shapes(&self) -> Vec<Shape> {
        let times = &self.recording.times;
        let line = |at: f64, color: &'static str| {
            let line = ShapeLine::new().color(color).width(1.2).dash(DashType::Dot);
            let shape = Shape::new().shape_type(ShapeType::Line).x_ref("x").y_ref("paper").layer(ShapeLayer::Below);
            shape.x0(at * 1000.0).x1(at * 1000.0).y0(0.0).y1(1.0).line(line)
        };
        let alarms = self.alarms.iter().map(|alarm| {
            let shape = Shape::new().shape_type(ShapeType::Rect).x_ref("x").y_ref("paper").layer(ShapeLayer::Below);
            let shape = shape.x0(times[alarm.from] * 1000.0).x1(times[alarm.to] * 1000.0).y0(0.0).y1(1.0);
            shape.fill_color("--alarm-tint").line(ShapeLine::new().width(0.0))
        });
        let restarts = self.recording.restarts.iter().map(|restart| line(times[restart.at], "--muted"));
        let onset = self.estimate.map(|estimate| line(estimate.onset, "--estimate"));
        alarms.chain(restarts).chain(onset).collect()
    }

    fn annotations(&self) -> Vec<Annotation> {
        let mut notes = Vec::new();
        let note = |text: String, color: &'static str| {
            let font = Font::new().size(13).color(color).family("--font");
            Annotation::new().text(text).font(font).show_arrow(false).background_color("--veil").border_pad(2.0)
        };
        if self.shows_limit() {
            let text = format!("limit {}", words::number(self.limit()));
            let note = note(text, "--limit").x_ref("paper").x(0.0).x_anchor(Anchor::Left).y(self.limit());
            notes.push(note.y_anchor(Anchor::Bottom).y_shift(1.0).x_shift(4.0).background_color("--clear"));
        }
        let Some(estimate) = self.estimate else { return notes };
        let (from, what) = (
            words::instant(estimate.onset),
            if matches!(estimate.judge, Judge::Leak { .. }) { "leak" } else { "rise" },
        );
        let clock = from.get(11..).unwrap_or(&from);
        let at = self.recording.times.partition_point(|time| *time < estimate.onset);
        let base = self.recording.connections.get(at).copied().filter(|count| count.is_finite()).unwrap_or(0.0);
        let began = note(format!("{what} began {clock}<br>{}", words::rate(estimate.rate)), "--estimate-text");
        let began = began.show_arrow(true).arrow_color("--estimate").arrow_head(0).arrow_width(1.2).ax(-72.0).ay(-58.0);
        notes.push(began.x(estimate.onset * 1000.0).y(base));
        if let Some(left) = estimate.left.filter(|left| left.likely > 0.0) {
            let full = estimate.now + left.likely;
            if full <= self.horizon() && self.shows_limit() {
                let clock = words::instant(full);
                let text = format!("full {}<br>in {}", clock.get(11..).unwrap_or(&clock), words::span(left.likely));
                let full = note(text, "--estimate-text").x(full * 1000.0).y(self.limit());
                notes.push(full.y_anchor(Anchor::Bottom).y_shift(3.0).x_anchor(Anchor::Right).x_shift(24.0));
            }
        }
        notes
    }
}

fn titled(text: &str) -> Title {
    Title::with_text(text).font(Font::new().size(12).color("--muted").family("--font"))
}

fn axis() -> Axis {
    let font = Font::new().size(12).color("--muted").family("--font");
    Axis::new()
        .tick_font(font)
        .grid_color("--line")
        .line_color("--line")
        .zero_line(false)
        .hover_format(",.1~f")
        .auto_margin(true)
}
