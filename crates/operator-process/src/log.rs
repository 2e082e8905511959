//! Last lines that a replica wrote in its present run and in the previous run.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Maximum number of bytes that are kept of a line.
const LONGEST_LINE: usize = 4 * 1024;

/// Last lines of two runs.
#[derive(Debug, Default)]
pub struct RunLogs {
    present: VecDeque<String>,
    previous: VecDeque<String>,
}

impl RunLogs {
    /// Begins a new run. The lines of the present run become those of the previous run.
    pub fn begin_run(&mut self) {
        self.previous = std::mem::take(&mut self.present);
    }

    /// Adds a line to the present run, which keeps at most `capacity` lines.
    pub fn push(&mut self, line: String, capacity: usize) {
        while self.present.len() >= capacity.max(1) {
            self.present.pop_front();
        }
        self.present.push_back(line);
    }

    /// Returns the last `lines` lines, oldest first.
    pub fn last(&self, lines: usize, previous: bool) -> impl Iterator<Item = &str> {
        let run = if previous {
            &self.previous
        } else {
            &self.present
        };
        run.iter()
            .skip(run.len().saturating_sub(lines))
            .map(String::as_str)
    }
}

/// Reads `source` to its end and passes each line to `take`. Replaces bytes that are not UTF-8.
/// Cuts lines that are longer than 4 KiB, so that a process that never ends its line costs no
/// memory.
pub async fn read_lines(mut source: impl AsyncRead + Unpin, mut take: impl FnMut(String)) {
    let mut buffer = [0_u8; 8 * 1024];
    let mut line = Vec::new();
    let mut cut = false;
    let mut finish = |line: &mut Vec<u8>, cut: &mut bool| {
        let mut text =
            String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        if *cut {
            text.push('…');
        }
        line.clear();
        *cut = false;
        take(text);
    };
    // An error of a pipe counts as its end, because the process is gone.
    while let Ok(read @ 1..) = source.read(&mut buffer).await {
        for &byte in &buffer[..read] {
            if byte == b'\n' {
                finish(&mut line, &mut cut);
            } else if line.len() < LONGEST_LINE {
                line.push(byte);
            } else {
                cut = true;
            }
        }
    }
    if !line.is_empty() {
        finish(&mut line, &mut cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept_and_the_run_before_stays_readable() {
        let mut logs = RunLogs::default();
        for line in ["a", "b", "c"] {
            logs.push(line.to_owned(), 2);
        }
        assert_eq!(logs.last(10, false).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(logs.last(1, false).collect::<Vec<_>>(), ["c"]);
        logs.begin_run();
        logs.push("d".to_owned(), 2);
        assert_eq!(logs.last(10, false).collect::<Vec<_>>(), ["d"]);
        assert_eq!(logs.last(10, true).collect::<Vec<_>>(), ["b", "c"]);
    }

    #[tokio::test]
    async fn lines_are_split_cut_and_made_text_whatever_the_process_writes() {
        let mut bytes = b"one\r\n\ntw\xffo\n".to_vec();
        bytes.extend(std::iter::repeat_n(b'x', LONGEST_LINE + 10));
        bytes.extend(b"\nunended");
        let mut lines = Vec::new();
        read_lines(&bytes[..], |line| lines.push(line)).await;
        assert_eq!(lines[..3], ["one", "", "tw\u{fffd}o"]);
        assert_eq!(lines[3].chars().count(), LONGEST_LINE + 1);
        assert_eq!(lines[4], "unended");
    }
}
