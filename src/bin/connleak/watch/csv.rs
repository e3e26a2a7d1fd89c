//! Every look as a row of a CSV file.

use super::frame::Frame;
use connleak::base::atomic_file;
use connleak::base::error::plain;
use connleak::kernel::socket::State;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub struct Csv {
    path: PathBuf,
    file: File,
    /// Bytes of whole rows; `None`: no regular file, which can't be cut.
    length: Option<u64>,
    /// Why nothing more is written.
    pub broken: Option<String>,
}

fn header() -> String {
    let states = State::NAMES.map(|(_, name)| name.to_lowercase()).join(",");
    format!("timestamp,connections,{states},opened,closed,close_wait_oldest,idle_oldest,descriptors,rss")
}

impl Csv {
    /// A new file, or one of an earlier watch that goes on.
    pub fn open(path: &Path) -> Result<Csv, String> {
        let failed = |why: std::io::Error| format!("can't write {}: {}", path.display(), plain(&why));
        let target = atomic_file::through_links(path).map_err(|why| why.to_string())?;
        let is_link = target.is_symlink();
        let open = |how: &mut OpenOptions| {
            // Nobody puts a link there meanwhile.
            how.append(true).custom_flags(if is_link { 0 } else { OFlags::NOFOLLOW.bits().cast_signed() }).open(&target)
        };
        let file = open(OpenOptions::new().create(true).read(true));
        // Devices and pipes may only be written.
        let file = file.or_else(|_| open(&mut OpenOptions::new())).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if atomic_file::is_planted(&target, &meta) {
            return Err(format!("{} was planted by another user meanwhile; name another file", path.display()));
        }
        let length = meta.is_file().then_some(meta.len());
        let mut csv = Csv { path: path.to_owned(), file, length, broken: None };
        if length.is_some_and(|length| length > 0) {
            let mut first = String::new();
            let read = BufReader::new(&csv.file).read_line(&mut first);
            if read.is_err() || first.trim_end() != header() {
                return Err(format!(
                    "{} holds something else: its first line is not ours; name another",
                    path.display()
                ));
            }
        } else {
            csv.write(&header())?;
        }
        Ok(csv)
    }

    /// Adds a look. Where that fails it is said once, and the file ends with a whole row.
    pub fn add(&mut self, frame: &Frame) {
        if self.broken.is_none() {
            self.broken = self.write(&row(frame)).err();
        }
    }

    fn write(&mut self, line: &str) -> Result<(), String> {
        let line = format!("{line}\n");
        match self.file.write_all(line.as_bytes()).and_then(|()| self.file.flush()) {
            Ok(()) => {
                self.length = self.length.map(|length| length + line.len() as u64);
                Ok(())
            }
            Err(why) => {
                // What half a row would be, nobody can read.
                let _ = self.length.map(|length| self.file.set_len(length));
                Err(format!("can't write {}: {}", self.path.display(), plain(&why)))
            }
        }
    }
}

fn row(frame: &Frame) -> String {
    let or_empty = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
    let seconds = |millis: Option<u64>| millis.map_or(String::new(), |millis| format!("{:.1}", millis as f64 / 1000.0));
    let mut fields = vec![format!("{:.3}", frame.wall as f64 / 1000.0), frame.connections().to_string()];
    fields.extend(frame.counts.iter().map(u64::to_string));
    fields.extend([or_empty(frame.opened), or_empty(frame.closed)]);
    fields.extend([seconds(frame.close_wait.oldest), seconds(frame.idle.oldest)]);
    fields.push(or_empty(frame.usage.map(|usage| usage.descriptors)));
    fields.push(or_empty(frame.usage.map(|usage| usage.rss)));
    fields.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let mut frame = Frame { wall: 1_700_000_000_250, opened: Some(3), ..Frame::default() };
        frame.counts[0] = 12;
        frame.idle.add(2.5);
        frame
    }

    #[test]
    fn one_header_and_a_row_for_each_look_also_over_two_watches() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        for _ in 0..2 {
            Csv::open(&path).unwrap().add(&frame());
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let row = "1700000000.250,12,12,0,0,0,0,0,0,0,0,0,0,3,,,2.5,,";
        assert_eq!(text, format!("{}\n{row}\n{row}\n", header()));
        assert_eq!(row.split(',').count(), header().split(',').count());
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "precious\n").unwrap();
        assert!(Csv::open(&path).err().unwrap().contains("holds something else"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious\n");
        assert!(Csv::open(dir.path()).err().unwrap().contains("can't write"));
    }

    #[test]
    fn a_full_disk_is_said() {
        let why = Csv::open(Path::new("/dev/full")).err().unwrap();
        assert_eq!(why, "can't write /dev/full: No space left on device");
    }
}
