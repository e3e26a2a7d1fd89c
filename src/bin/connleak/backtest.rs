//! Replay recorded samples through the detector that check_conn_growth ships: when would it have paged?

use super::protocol::Reader;
use crate::subcommand::Plain;
use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::plain;
use connleak::growth::detector::{Detector, Sample, TimeLeft, Verdict};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;

/// Seconds left at the earliest; as the generic profile has it.
const CRITICAL: f64 = 1200.0;

/// replay recorded samples through the leak detector
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "backtest")]
pub struct Backtest {
    /// read one series from standard input and answer each sample with a line: its number, 0, 1 or 2
    /// (may be full in 20 minutes), and with 1 and 2 the seconds left: likely, earliest, latest
    #[argh(switch)]
    stream: bool,

    /// replay what check_conn_growth recorded; takes its options instead of files: see
    /// backtest --from-history --help
    #[argh(switch)]
    #[expect(dead_code, reason = "main takes it")]
    from_history: bool,

    /// recorded series; one line is printed whenever the verdict changes
    #[argh(positional)]
    files: Vec<PathBuf>,
}

impl Plain for Backtest {
    fn run(self) -> Result<(), String> {
        match (self.stream, self.files.is_empty()) {
            (true, true) => stream(io::stdin().lock()),
            (false, false) => self.files.iter().try_for_each(|path| {
                let file = File::open(path).map_err(|why| format!("can't read {}: {}", path.display(), plain(&why)))?;
                story(&path.display().to_string(), BufReader::new(file))
                    .map_err(|why| format!("{}: {why}", path.display()))
            }),
            _ => Err("backtest takes files, or --stream and standard input; see --help".to_owned()),
        }
    }
}

/// Shows every sample of a series, with its number, to `each` together with the verdict on it.
fn replay(input: impl BufRead, mut each: impl FnMut(u64, &Sample, &Verdict) -> io::Result<()>) -> Result<(), String> {
    let mut reader = Reader::new(input);
    let header = reader.header()?;
    let mut detector = Detector::new(header.interval, header.limit);
    while let Some((index, sample)) = reader.sample()? {
        let verdict = detector.step(&sample);
        match each(index, &sample, &verdict) {
            // Whoever read the answers has seen enough.
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            told => told.map_err(|why| format!("can't write the answer: {why}"))?,
        }
    }
    Ok(())
}

fn stream(input: impl BufRead) -> Result<(), String> {
    let mut output = io::stdout().lock();
    replay(input, |index, _, verdict| {
        match verdict {
            Verdict::Leak(leak) => {
                let TimeLeft { likely, earliest, latest } = leak.left;
                let code = if earliest < CRITICAL { 2 } else { 1 };
                writeln!(output, "{index} {code} {likely:.0} {earliest:.0} {latest:.0}")?;
            }
            _ => writeln!(output, "{index} 0")?,
        }
        output.flush()
    })
}

fn story(name: &str, input: impl BufRead) -> Result<(), String> {
    let mut output = io::stdout().lock();
    let mut before = "";
    replay(input, |index, sample, verdict| {
        let word = match verdict {
            Verdict::Learning { .. } => "learning",
            Verdict::Steady => "steady",
            Verdict::Growing { .. } => "growing (load)",
            Verdict::Leak(_) => "leak",
        };
        if word == std::mem::replace(&mut before, word) {
            return Ok(());
        }
        let connections = sample.established + sample.close_wait;
        write!(output, "{name}: sample {index}, {connections} connections: {word}")?;
        if let Verdict::Leak(leak) = verdict {
            let span = |seconds: f64| Span::seconds(seconds.clamp(0.0, 1e9).round() as u64);
            let (since, left) = (span(leak.onset), span(leak.left.likely));
            let rate = leak.rate * 60.0;
            write!(
                output,
                " in group {} since {since}, {rate:+.2}/min, {} suspects, full in {left}",
                leak.group, leak.suspects
            )?;
        }
        writeln!(output)
    })
}
