//! Log of a container: one file for each run, with the time of every line.

use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Size from which a file is renamed to `.old`, over the older file of that name.
const LARGEST: u64 = 10 * 1024 * 1024;
/// Maximum length of a line in bytes. Longer lines are split.
const LONGEST_LINE: usize = 16 * 1024;

/// Log of one run of a container. Clones write to the same file.
#[derive(Debug, Clone)]
pub(super) struct LogFile(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    length: u64,
}

impl LogFile {
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::create(&path)?;
        Ok(Self(Arc::new(Mutex::new(Open {
            path,
            file,
            length: 0,
        }))))
    }

    /// Copies `output` line by line, until it ends.
    pub(super) async fn copy(self, mut output: impl AsyncRead + Unpin) {
        let mut pending = Vec::new();
        let mut chunk = vec![0; LONGEST_LINE];
        loop {
            let read = output.read(&mut chunk).await.unwrap_or_default();
            if read == 0 {
                break;
            }
            pending.extend_from_slice(&chunk[..read]);
            while let Some(end) = end_of_line(&pending) {
                self.write(pending.drain(..end).as_slice());
            }
        }
        if !pending.is_empty() {
            self.write(&pending);
        }
    }

    /// Writes a line. If the log can't be written, the line is lost, and the container does not
    /// notice.
    fn write(&self, line: &[u8]) {
        let mut open = self.0.lock();
        let text = String::from_utf8_lossy(line);
        let stamped = format!(
            "{:.9} {}\n",
            Timestamp::now(),
            text.trim_end_matches(['\n', '\r'])
        );
        if open.length > LARGEST
            && std::fs::rename(&open.path, set_aside(&open.path)).is_ok()
            && let Ok(file) = File::create(&open.path)
        {
            open.file = file;
            open.length = 0;
        }
        if open.file.write_all(stamped.as_bytes()).is_ok() {
            open.length += stamped.len() as u64;
        }
    }
}

/// Returns the length of the first line of `pending`, including its end, or the maximum length of a
/// line if `pending` is longer. Returns `None` if the line is incomplete.
fn end_of_line(pending: &[u8]) -> Option<usize> {
    match pending.iter().position(|byte| *byte == b'\n') {
        Some(at) if at < LONGEST_LINE => Some(at + 1),
        _ if pending.len() >= LONGEST_LINE => Some(LONGEST_LINE),
        _ => None,
    }
}

/// Returns the path of the older half of a long log.
fn set_aside(path: &Path) -> PathBuf {
    path.with_extension("old")
}

/// Removes the log of a run that nobody can request any more.
pub(super) fn remove(path: &Path) {
    // A missing file is fine, because the caller wants it removed.
    let _removed = std::fs::remove_file(path);
    let _removed = std::fs::remove_file(set_aside(path));
}

/// Selection of lines from a log. The default is all lines without their times.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// Number of lines from the end.
    pub tail: Option<usize>,
    /// Only lines from this time or later.
    pub since: Option<Timestamp>,
    /// Maximum number of bytes from the start.
    pub limit: Option<usize>,
    /// True to write the time in front of each line.
    pub timestamps: bool,
}

/// Returns the selected lines of the log at `path`, and the position in the file from which to read
/// on.
pub(super) fn read(path: &Path, wanted: &Wanted) -> (String, u64) {
    let older = std::fs::read_to_string(set_aside(path)).unwrap_or_default();
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let length = text.len() as u64;
    (select(&(older + &text), wanted), length)
}

/// Returns the selected lines of `text`, which has times, as the container wrote them.
pub(super) fn select(text: &str, wanted: &Wanted) -> String {
    let lines: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let recent = |time: &str| {
        wanted
            .since
            .is_none_or(|since| time.parse::<Timestamp>().is_ok_and(|time| time >= since))
    };
    let first = lines
        .iter()
        .position(|(time, _)| recent(time))
        .unwrap_or(lines.len());
    let last = wanted
        .tail
        .map_or(0, |tail| lines.len().saturating_sub(tail));
    let mut selected = String::new();
    for (time, line) in &lines[first.max(last)..] {
        if wanted.timestamps {
            selected.push_str(time);
            selected.push(' ');
        }
        selected.push_str(line);
        selected.push('\n');
    }
    if let Some(limit) = wanted.limit {
        selected.truncate(selected.floor_char_boundary(limit));
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.000000000Z one\n2026-01-01T00:00:02.000000000Z \n2026-01-01T00:00:03.000000000Z three words here\n";

    #[test]
    fn the_lines_asked_for_come_without_their_times() {
        assert_eq!(select(LOG, &Wanted::default()), "one\n\nthree words here\n");
        assert_eq!(
            select(
                LOG,
                &Wanted {
                    tail: Some(1),
                    ..Wanted::default()
                }
            ),
            "three words here\n"
        );
        assert_eq!(
            select(
                LOG,
                &Wanted {
                    tail: Some(0),
                    ..Wanted::default()
                }
            ),
            ""
        );
        let since = Some("2026-01-01T00:00:02Z".parse().unwrap());
        assert_eq!(
            select(
                LOG,
                &Wanted {
                    since,
                    ..Wanted::default()
                }
            ),
            "\nthree words here\n"
        );
        assert_eq!(
            select(
                LOG,
                &Wanted {
                    limit: Some(5),
                    ..Wanted::default()
                }
            ),
            "one\n\n"
        );
    }

    #[test]
    fn times_are_put_in_front_if_wanted() {
        let wanted = Wanted {
            tail: Some(1),
            timestamps: true,
            ..Wanted::default()
        };
        assert_eq!(
            select(LOG, &wanted),
            "2026-01-01T00:00:03.000000000Z three words here\n"
        );
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_cut_and_the_last_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let written = format!("{}\nlast", "x".repeat(LONGEST_LINE + 10));
        LogFile::create(path.clone())
            .unwrap()
            .copy(written.as_bytes())
            .await;
        let lines: Vec<_> = read(&path, &Wanted::default())
            .0
            .lines()
            .map(str::len)
            .collect();
        assert_eq!(lines, [LONGEST_LINE, 10, 4]);
    }
}
