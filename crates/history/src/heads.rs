//! Heads of the chains in a small file beside the history. They reveal that the history was
//! emptied, replaced or cut off at its end while nobody looked.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anomalyzer_regular_file as regular_file;
use parking_lot::Mutex;

use super::chains::Anchor;

/// Name of the file, beside the history.
pub const HEADS_FILE_NAME: &str = "history.heads";

/// Size of the file. It is written in place and whole, so that it needs no room on a full disk.
const SIZE: usize = 1024;
/// Maximum size of a file that is read.
const MAX_BYTES: u64 = 64 << 10;

/// File with the heads. Clones of a history share it.
#[derive(Debug)]
pub(super) struct HeadsFile {
    path: PathBuf,
    /// Heads that the file had when the history was opened.
    known: Vec<Anchor>,
    /// Heads that were written last.
    written: Mutex<Vec<Anchor>>,
}

impl HeadsFile {
    /// Reads the heads beside a history. Without the file, and if it is damaged, none are known.
    pub(super) fn beside(history: &Path) -> Self {
        Self {
            path: history.with_file_name(HEADS_FILE_NAME),
            known: beside(history),
            written: Mutex::default(),
        }
    }

    /// Returns the heads that the file had when the history was opened.
    pub(super) fn known(&self) -> &[Anchor] {
        &self.known
    }

    /// Replaces the heads, unless they are older than the written ones. The file is not flushed:
    /// the heads may be older than the history after a power cut, and never newer.
    pub(super) fn write(&self, heads: Vec<Anchor>) -> io::Result<()> {
        let mut written = self.written.lock();
        let sum = |heads: &[Anchor]| heads.iter().map(|head| head.seq).sum::<i64>();
        if sum(&heads) <= sum(&written) {
            return Ok(());
        }
        let mut text = String::new();
        for head in &heads {
            text.push_str(&serde_json::to_string(head)?);
            text.push('\n');
        }
        let mut bytes = text.into_bytes();
        bytes.resize(SIZE.max(bytes.len()), b'\n');
        regular_file::open_or_create(&self.path)?.write_all_at(&bytes, 0)?;
        *written = heads;
        Ok(())
    }
}

/// Returns the heads beside a history. Without the file, and if it is damaged, there are none.
pub(super) fn beside(history: &Path) -> Vec<Anchor> {
    let path = history.with_file_name(HEADS_FILE_NAME);
    read(&path).unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(path = %path.display(), %error, "cannot read the heads of the chains");
        }
        Vec::new()
    })
}

fn read(path: &Path) -> io::Result<Vec<Anchor>> {
    regular_file::read_text(path, MAX_BYTES)?
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).map_err(io::Error::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::chains::Chain;
    use super::*;

    #[test]
    fn heads_are_read_again_and_never_go_back() {
        let folder = tempfile::tempdir().unwrap();
        let history = folder.path().join("history.sqlite");
        let file = HeadsFile::beside(&history);
        assert!(file.known().is_empty());
        let heads = |seq| {
            Chain::ALL
                .map(|chain| Anchor {
                    chain,
                    seq,
                    hash: "0f".repeat(32),
                })
                .to_vec()
        };
        file.write(heads(1_000_000_000)).unwrap();
        file.write(heads(12)).unwrap();
        assert_eq!(HeadsFile::beside(&history).known(), heads(1_000_000_000));
        std::fs::write(folder.path().join(HEADS_FILE_NAME), "{").unwrap();
        assert!(HeadsFile::beside(&history).known().is_empty());
    }
}
