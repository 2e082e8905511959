//! Undelivered notices on disk, so that they survive a restart.
//!
//! Letter: a notice with its channel, until the channel accepts it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::About;
use anomalyzer_domain::{Notice, OperationId};
use anomalyzer_regular_file as regular_file;

/// Maximum size of the file of a letter, in bytes.
const MAX_LETTER_BYTES: u64 = 16 << 20;

/// A notice with its channel, until the channel accepts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Name of the channel.
    pub channel: String,
    /// The notice.
    pub notice: Notice,
    /// Context of the notice.
    pub about: About,
}

impl Letter {
    /// Returns the key of the letter: one operation reaches a channel once.
    pub fn key(&self) -> String {
        OperationId::derive(&[self.about.operation.as_str(), &self.channel]).to_string()
    }
}

/// Folder with one file for each letter. Without a folder nothing is kept.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    folder: Option<PathBuf>,
}

impl Outbox {
    /// Uses `folder`, which is made with the first letter.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self {
            folder: Some(folder),
        }
    }

    /// Returns the letters of an earlier run, at most `most`, oldest first. An unreadable file is
    /// removed and reported: it would be as unreadable at the next start.
    pub fn letters(&self, most: usize) -> Vec<Letter> {
        let entries = self.folder.as_ref().and_then(|at| fs::read_dir(at).ok());
        let mut letters = Vec::new();
        for path in entries.into_iter().flatten().flatten().map(|it| it.path()) {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let read =
                regular_file::read(&path, MAX_LETTER_BYTES).map_err(|error| error.to_string());
            match read.and_then(|bytes| {
                serde_json::from_slice::<Letter>(&bytes).map_err(|error| error.to_string())
            }) {
                Ok(letter) => letters.push(letter),
                Err(error) => {
                    tracing::error!(path = %path.display(), error, "undelivered notice is unreadable and dropped");
                    let _ = fs::remove_file(&path);
                }
            }
        }
        letters.sort_by_key(|letter| letter.about.at);
        letters.truncate(most);
        letters
    }

    /// Keeps a letter. It is durable on return.
    ///
    /// # Errors
    /// The disk does not take it. The letter is sent all the same.
    pub fn keep(&self, letter: &Letter) -> io::Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        make_private(folder)?;
        let path = folder.join(file_name(letter));
        let draft = path.with_extension("tmp");
        let mut file = create_private(&draft)?;
        file.write_all(&serde_json::to_vec(letter)?)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        fs::File::open(folder)?.sync_all()
    }

    /// Removes a letter that arrived or was abandoned.
    pub fn remove(&self, letter: &Letter) {
        if let Some(folder) = &self.folder {
            // A file that stays is sent once more after the next start: at least once.
            let _ = fs::remove_file(folder.join(file_name(letter)));
        }
    }
}

fn file_name(letter: &Letter) -> String {
    format!("{}.json", letter.key())
}

#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(operation: &str, at: i64) -> Letter {
        Letter {
            channel: "chat/../../x".into(),
            notice: Notice {
                channel: "default".into(),
                title: "web is slow".into(),
                text: String::new(),
            },
            about: About {
                operation: OperationId::from(operation),
                incident: None,
                target: None,
                severity: "critical".into(),
                at,
                until: None,
                storm: None,
            },
        }
    }

    #[test]
    fn a_letter_is_there_after_a_restart_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::in_folder(folder.path().join("notices"));
        assert!(outbox.letters(9).is_empty());
        let (first, second) = (letter("op-1", 1), letter("op-2", 2));
        outbox.keep(&second).unwrap();
        outbox.keep(&first).unwrap();
        outbox.keep(&first).unwrap();
        fs::write(folder.path().join("notices/broken.json"), "{").unwrap();
        assert_eq!(outbox.letters(9), [first.clone(), second.clone()]);
        assert_eq!(outbox.letters(1), std::slice::from_ref(&first));
        outbox.remove(&first);
        assert_eq!(outbox.letters(9), [second]);
        assert!(!folder.path().join("notices/broken.json").exists());
    }
}
