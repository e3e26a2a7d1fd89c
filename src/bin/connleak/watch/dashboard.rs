//! A watch on a terminal: states over time, rates, ages, owners.

use super::frame::{Ages, CLASSES, Frame, Story, mebibytes};
use crate::screen::{self, visible};
use connleak::base::duration::Span;
use connleak::kernel::socket::State;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span as Piece, Text};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Paragraph};

/// What stays the same during a watch.
pub struct Heading {
    pub title: String,
    pub interval: Span,
    pub colour: bool,
}

/// A state's look: its colour, its marker in the chart, and what stands for that in the legend.
fn look(state: State) -> (Color, Marker, &'static str) {
    match state {
        State::Established => (Color::Green, Marker::Braille, "⠶"),
        State::CloseWait => (Color::Red, Marker::Block, "█"),
        State::TimeWait => (Color::Blue, Marker::Dot, "•"),
        _ => (Color::Magenta, Marker::Bar, "▄"),
    }
}

impl Heading {
    fn style(&self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub fn draw(&self, canvas: &mut ratatui::Frame, story: &Story) {
        let Some(last) = &story.last else { return };
        let area = canvas.area();
        let mut numbers = self.states(story, last, area.width);
        numbers.extend(folded(&rates(story, last), area.width));
        let notes: Vec<Line> =
            last.notes.iter().flat_map(|note| folded(&format!("note: {note}"), area.width)).collect();
        let has_room = area.height >= 22;
        // On the smallest screens the numbers come first.
        let (most_owners, most_notes) = match area.height {
            0..6 => (0, 0),
            6..22 => (3, 2),
            22.. => (6, 3),
        };
        let owners_height = story.growth().len().min(most_owners) as u16;
        let notes_height = notes.len().min(most_notes) as u16;
        let ages_height = if has_room { 1 + CLASSES.len() as u16 } else { 0 };
        let [title, chart, numbers_area, ages, owners, notes_area] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(if area.height >= 12 { 6 } else { 0 }),
            Constraint::Length(numbers.len() as u16),
            Constraint::Length(ages_height),
            Constraint::Length(owners_height),
            Constraint::Length(notes_height),
        ])
        .areas(area);
        canvas.render_widget(self.title(last, area.width), title);
        if chart.height >= 4 {
            self.chart(canvas, chart, story);
        }
        canvas.render_widget(Paragraph::new(numbers), numbers_area);
        if has_room {
            self.ages(canvas, ages, last);
        }
        canvas.render_widget(self.owners(story, owners.height), owners);
        canvas.render_widget(Paragraph::new(notes).style(self.style(Color::Yellow)), notes_area);
    }

    fn title(&self, last: &Frame, width: u16) -> Paragraph<'_> {
        let after = Span::seconds(last.after.as_secs());
        let help = if width >= 60 { ", q quits" } else { "" };
        let text = format!("{}, {after}, every {}{help}", self.title, self.interval);
        Paragraph::new(Line::styled(text, Style::new().add_modifier(Modifier::BOLD)))
    }

    fn chart(&self, canvas: &mut ratatui::Frame, area: Rect, story: &Story) {
        let series = |(state, _): (State, &str)| {
            let points = story.points.iter().map(|(after, counts)| (*after, counts[state as usize - 1] as f64));
            (state, points.collect::<Vec<_>>())
        };
        let mut shown: Vec<_> = State::NAMES.into_iter().filter(|(state, _)| occurs(story, *state)).collect();
        // The last drawn lies above: what leaks must be seen.
        shown.sort_by_key(|(state, _)| (*state == State::CloseWait, *state == State::Established));
        let series: Vec<_> = shown.into_iter().map(series).collect();
        let most = series.iter().flat_map(|(_, points)| points).map(|(_, count)| *count).fold(4.0, f64::max);
        let end = story.points.last().map_or(1.0, |point| point.0).max(1.0);
        let datasets = series.iter().map(|(state, points)| {
            let (colour, marker, _) = look(*state);
            Dataset::default().marker(marker).graph_type(GraphType::Line).style(self.style(colour)).data(points)
        });
        let counts = [0.0, most / 2.0, most].map(|count| format!("{count:.0}"));
        let times = ["0s".to_owned(), Span::seconds(end as u64).to_string()];
        let chart = Chart::new(datasets.collect())
            .x_axis(Axis::default().bounds([0.0, end]).labels(times))
            .y_axis(Axis::default().bounds([0.0, most]).labels(counts))
            .legend_position(None);
        canvas.render_widget(chart, area);
    }

    /// The counts of now; at the same time the chart's legend.
    fn states(&self, story: &Story, last: &Frame, width: u16) -> Vec<Line<'static>> {
        let mut lines: Vec<Line> = Vec::new();
        for (state, name) in State::NAMES.into_iter().filter(|(state, _)| occurs(story, *state)) {
            let (colour, _, symbol) = look(state);
            let oldest = if state == State::CloseWait { last.close_wait.oldest_text() } else { String::new() };
            let name = Piece::styled(format!("{symbol} {name}"), self.style(colour));
            let count = Piece::raw(format!(" {}{oldest}  ", last.count(state)));
            let needed = name.width() + count.width();
            match lines.last_mut().filter(|line| line.width() + needed <= usize::from(width) + 2) {
                Some(line) => line.spans.extend([name, count]),
                None => lines.push(Line::from(vec![name, count])),
            }
        }
        lines
    }

    fn ages(&self, canvas: &mut ratatui::Frame, area: Rect, last: &Frame) {
        let columns = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2);
        let [left, right] = columns.areas(area);
        for (area, title, ages, state) in [
            (left, "idle", &last.idle, State::Established),
            (right, "in CLOSE_WAIT", &last.close_wait, State::CloseWait),
        ] {
            let (colour, ..) = look(state);
            canvas.render_widget(Paragraph::new(bars(title, ages, area.width, self.style(colour))), area);
        }
    }

    fn owners(&self, story: &Story, height: u16) -> Paragraph<'static> {
        let growth = story.growth();
        let lines = growth.iter().take(usize::from(height)).map(|(name, now, growth)| {
            let style = if *growth > 0 { self.style(Color::Yellow) } else { Style::new() };
            Line::from(vec![
                Piece::raw(format!("{now:>6} ")),
                Piece::styled(format!("{growth:>+6}",), style),
                Piece::raw(format!("  {}", visible(name))),
            ])
        });
        Paragraph::new(lines.collect::<Vec<_>>())
    }
}

/// ESTABLISHED and CLOSE_WAIT always, others once they were there; a listener tells nothing.
fn occurs(story: &Story, state: State) -> bool {
    matches!(state, State::Established | State::CloseWait)
        || state != State::Listen && story.points.iter().any(|(_, counts)| counts[state as usize - 1] > 0)
}

fn rates(story: &Story, last: &Frame) -> String {
    let mut text = match story.rates() {
        Some((opened, closed)) => {
            let (in_all, out) = (story.opened, story.closed);
            format!("opened {opened:.0}/min, closed {closed:.0}/min; since the start {in_all} and {out}")
        }
        None => "opened and closed: from the second look on".to_owned(),
    };
    if let Some(usage) = last.usage {
        text.push_str(&format!("; {} descriptors, {}", usage.descriptors, mebibytes(usage.rss)));
    }
    text
}

/// A bar for each class of ages.
fn bars(title: &str, ages: &Ages, width: u16, style: Style) -> Text<'static> {
    let most = ages.classes.iter().copied().max().unwrap_or(0).max(1);
    let room = usize::from(width).saturating_sub(14);
    let mut lines = vec![Line::styled(title.to_owned(), Style::new().add_modifier(Modifier::BOLD))];
    for ((class, _), count) in CLASSES.iter().zip(ages.classes) {
        let length = (count as usize * room).div_ceil(most as usize);
        let bar = Piece::styled("█".repeat(length), style);
        lines.push(Line::from(vec![Piece::raw(format!("{class:>5} ")), bar, Piece::raw(format!(" {count}"))]));
    }
    Text::from(lines)
}

fn folded(text: &str, width: u16) -> Vec<Line<'static>> {
    screen::wrapped(&visible(text), "", usize::from(width)).lines().map(|line| Line::from(line.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::frame::Usage;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::path::Path;
    use std::time::Duration;

    /// A leak of a connection every second look, over ten minutes.
    fn story() -> Story {
        let mut story = Story::default();
        for look in 0..=120_u64 {
            let mut frame = Frame { after: Duration::from_secs(5 * look), ..Frame::default() };
            frame.counts[State::Established as usize - 1] = 12 + look % 3;
            frame.counts[State::CloseWait as usize - 1] = look / 2;
            frame.counts[State::TimeWait as usize - 1] = 40 - look % 40;
            (frame.opened, frame.closed) = (Some(3), Some(2));
            (0..look / 2).for_each(|leak| frame.close_wait.add(10.0 * leak as f64));
            (0..12).for_each(|idle| frame.idle.add(f64::from(idle)));
            frame.owners = [("php-fpm".to_owned(), 8 + look / 2), ("evil\u{1b}[2K".to_owned(), 4)].into();
            story.add(frame);
        }
        story.last.as_mut().unwrap().notes.push("not recorded: No space left on device".to_owned());
        story
    }

    fn screen(story: &Story, width: u16, height: u16) -> String {
        let heading =
            Heading { title: "memcached:11211, both sides".to_owned(), interval: Span::seconds(5), colour: true };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|canvas| heading.draw(canvas, story)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line = |row: u16| (0..width).map(|column| buffer[(column, row)].symbol()).collect::<String>();
        (0..height).map(|row| line(row).trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn every_size_shows_what_fits() {
        for (width, height) in [(100, 30), (80, 24), (40, 20), (40, 8)] {
            let golden = format!("{}/tests/golden/connleak/watch_{width}x{height}.txt", env!("CARGO_MANIFEST_DIR"));
            let (golden, shown) = (Path::new(&golden), screen(&story(), width, height));
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(golden, &shown).unwrap();
            }
            assert_eq!(shown, std::fs::read_to_string(golden).unwrap(), "{width}x{height}");
        }
    }

    #[test]
    fn the_first_look_of_an_idle_service_is_drawn_too() {
        let mut story = Story::default();
        let usage = Some(Usage { descriptors: 7, rss: 5 << 20 });
        story.add(Frame { usage, ..Frame::default() });
        let shown = screen(&story, 80, 24);
        assert!(shown.contains("from the second look on; 7 descriptors, 5.0 MiB"), "{shown}");
    }
}
