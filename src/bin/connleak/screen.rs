//! What is known of the terminal, and text that can't command it.

use connleak::base::error::plain;
use connleak::kernel::socket::Side;
use connleak::service::target::Target;
use rustix::termios::tcgetwinsize;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Where standard output goes.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Columns; `None`: no terminal, so as wide as the text is.
    pub width: Option<usize>,
    pub colour: bool,
    /// Whether a line may be drawn over.
    pub redraws: bool,
}

impl Screen {
    pub fn of_stdout() -> Screen {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let is_terminal = io::stdout().is_terminal();
        // Not by crossterm, which asks the program tput where there is no terminal.
        let measured = || tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
        let told = variable("COLUMNS").and_then(|columns| columns.parse().ok());
        let width = told.or_else(|| measured().filter(|_| is_terminal)).filter(|width| *width > 0);
        let redraws = is_terminal && variable("TERM").is_some_and(|term| term != "dumb");
        Screen { width, colour: redraws && variable("NO_COLOR").is_none(), redraws }
    }

    /// A line after a label, folded where the terminal is narrower.
    pub fn folded(&self, label: &str, text: &str) -> String {
        let text = visible(text);
        let text = if label.is_empty() { text } else { format!("{label} {text}") };
        wrapped(&text, "", self.width.unwrap_or(usize::MAX))
    }

    /// The text in a colour, by its SGR parameters: `1;31`.
    pub fn paint(&self, sgr: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{sgr}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Colours of the three states, wherever they are shown.
pub fn sgr(state: &str) -> &'static str {
    match state {
        "OK" => "1;32",
        "WARNING" => "1;33",
        "CRITICAL" => "1;31",
        _ => "1;35",
    }
}

/// `memcached:11211, both sides`.
pub fn title(target: &Target) -> String {
    match target.selection.side {
        _ if target.selection.is_any() => target.service.to_string(),
        Side::Both => format!("{}, both sides", target.service),
        side => format!("{}, {} side", target.service, side.name()),
    }
}

/// Prints to standard output. Whoever reads it may stop reading.
pub fn print(text: &str) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(why) if why.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        printed => printed.map_err(|why| format!("can't write to standard output: {}", plain(&why))),
    }
}

/// Text as one line that a terminal shows and doesn't obey: control and direction characters are
/// written as their escapes.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if commands(character) { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    shown
}

/// Whether a terminal obeys the character rather than show it.
pub fn commands(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || character.is_control()
}

/// Words in lines of at most `width` columns; a longer word has its own line.
pub fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && indent.chars().count() + line.chars().count() + 1 + word.chars().count() > width {
            lines.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push_str(&format!("{indent}{line}\n"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(visible("x\u{1b}[2K\n\u{202e}\u{9b}ä|="), "x\\u{1b}[2K\\n\\u{202e}\\u{9b}ä|=");
    }

    #[test]
    fn wraps_at_blanks() {
        assert_eq!(wrapped("aa bb cc dddddddd e", "  ", 7), "  aa bb\n  cc\n  dddddddd\n  e\n");
    }
}
