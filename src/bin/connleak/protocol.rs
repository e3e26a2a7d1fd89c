//! The benchmark's line protocol: one header, then samples of socket-table lines closed by a dot.

use std::io::BufRead;

use connleak::base::error::plain;
use connleak::growth::detector::{Sample, Socket, State};

/// What the header line says of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    pub id: String,
    /// Seconds between two checks, as scheduled.
    pub interval: f64,
    /// Connections the service can hold.
    pub limit: u32,
}

/// Pulls samples out of a line stream; every error names the line.
pub struct Reader<R> {
    input: R,
    line: String,
    number: usize,
}

impl<R: BufRead> Reader<R> {
    pub fn new(input: R) -> Self {
        Self { input, line: String::new(), number: 0 }
    }

    /// Reads `H id interval limit`.
    pub fn header(&mut self) -> Result<Header, String> {
        if !self.next_line()? {
            return Err("line 1: expected 'H id interval limit', found the end of the input".to_owned());
        }
        let mut fields = self.tagged("H")?;
        let id = fields.next().ok_or_else(|| self.missing("id"))?.to_owned();
        let interval = self.seconds(fields.next(), "interval")?;
        let limit = self.field(fields.next(), "limit")?;
        if interval == 0.0 || limit == 0 {
            return Err(format!("line {}: interval and limit must be above 0", self.number));
        }
        Ok(Header { id, interval, limit })
    }

    /// Reads one sample with its number, or `None` at the end of the input.
    pub fn sample(&mut self) -> Result<Option<(u64, Sample)>, String> {
        if !self.next_line()? {
            return Ok(None);
        }
        let mut fields = self.tagged("S")?;
        let index = self.field(fields.next(), "i")?;
        let mut sample = Sample {
            wall: self.finite(fields.next(), "wall")?,
            uptime: self.seconds(fields.next(), "uptime")?,
            boot: self.field(fields.next(), "boot")?,
            service: self.field(fields.next(), "svc")?,
            established: self.field(fields.next(), "established")?,
            close_wait: self.field(fields.next(), "close_wait")?,
            time_wait: self.field(fields.next(), "time_wait")?,
            other: self.field(fields.next(), "other")?,
            ..Sample::default()
        };
        let expected: usize = self.field(fields.next(), "nsock")?;
        while self.next_line()? {
            if self.line.trim_end() == "." {
                if sample.sockets.len() != expected {
                    return Err(format!(
                        "line {}: sample {index} announced {expected} sockets and has {}",
                        self.number,
                        sample.sockets.len()
                    ));
                }
                return Ok(Some((index, sample)));
            }
            sample.sockets.push(self.socket()?);
        }
        Err(format!("line {}: sample {index} ends without its '.'", self.number))
    }

    fn socket(&self) -> Result<Socket, String> {
        let mut fields = self.tagged("K")?;
        Ok(Socket {
            cookie: self.field(fields.next(), "cookie")?,
            group: self.field(fields.next(), "group")?,
            state: match fields.next() {
                Some("E") => State::Established,
                Some("W") => State::CloseWait,
                other => {
                    return Err(format!("line {}: state '{}' is neither E nor W", self.number, other.unwrap_or("")));
                }
            },
            idle: self.seconds(fields.next(), "idle")?,
        })
    }

    fn next_line(&mut self) -> Result<bool, String> {
        self.line.clear();
        self.number += 1;
        let n = self.input.read_line(&mut self.line).map_err(|why| format!("line {}: {}", self.number, plain(&why)))?;
        Ok(n > 0)
    }

    fn tagged(&self, tag: &str) -> Result<std::str::SplitAsciiWhitespace<'_>, String> {
        let mut fields = self.line.split_ascii_whitespace();
        match fields.next() {
            Some(found) if found == tag => Ok(fields),
            found => Err(format!("line {}: expected '{tag}', found '{}'", self.number, found.unwrap_or(""))),
        }
    }

    fn field<T: std::str::FromStr>(&self, text: Option<&str>, name: &str) -> Result<T, String> {
        let number = text.ok_or_else(|| self.missing(name))?;
        number.parse().map_err(|_| self.no_number(text, name))
    }

    fn finite(&self, text: Option<&str>, name: &str) -> Result<f64, String> {
        let seconds: f64 = self.field(text, name)?;
        seconds.is_finite().then_some(seconds).ok_or_else(|| self.no_number(text, name))
    }

    /// A duration in seconds.
    fn seconds(&self, text: Option<&str>, name: &str) -> Result<f64, String> {
        let seconds = self.finite(text, name)?;
        (seconds >= 0.0).then_some(seconds).ok_or_else(|| self.no_number(text, name))
    }

    fn no_number(&self, text: Option<&str>, name: &str) -> String {
        format!("line {}: {name} '{}' is no valid number", self.number, text.unwrap_or(""))
    }

    fn missing(&self, name: &str) -> String {
        format!("line {}: {name} is missing", self.number)
    }
}
