//! Kill switch: a file, so that it survives restarts and can be set even if the API is down.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anomalyzer_regular_file as regular_file;
use tokio::fs;
use tokio::task::spawn_blocking;

/// Name of the file in the data folder. While the file exists, nothing is changed. Its content is
/// the reason.
pub const FILE_NAME: &str = "STOP";
/// Maximum length of a shown reason, in characters.
const MAX_REASON_CHARS: usize = 500;
/// Maximum size of a file whose reason is shown, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// Switch that forbids every change. The guard checks it before every operation.
#[derive(Clone, Debug)]
pub struct KillSwitch {
    path: PathBuf,
}

impl KillSwitch {
    /// Returns the kill switch of the server with this data folder.
    pub fn in_folder(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join(FILE_NAME),
        }
    }

    /// Returns the reason while the switch is on, and `None` while it is off. A file that cannot be
    /// read counts as on.
    pub fn why(&self) -> Option<String> {
        match self.read() {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
                let line: String = line
                    .chars()
                    .filter(|character| !character.is_control())
                    .take(MAX_REASON_CHARS)
                    .collect();
                Some(if line.is_empty() {
                    "no reason is given".to_owned()
                } else {
                    line
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(format!("{} can't be read: {error}", self.path.display())),
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        regular_file::read(&self.path, MAX_BYTES)
    }

    /// Switches it on. The file is durable when this returns.
    ///
    /// # Errors
    /// The file can't be written. A half-written file counts as on.
    pub async fn on(&self, why: &str) -> io::Result<()> {
        let (path, text) = (self.path.clone(), format!("{why}\n"));
        let written = spawn_blocking(move || {
            let mut file = regular_file::open_or_create(&path)?;
            file.set_len(0)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.await.map_err(io::Error::other)??;
        self.sync_folder().await
    }

    /// Switches it off. The removal is durable when this returns.
    ///
    /// # Errors
    /// The file can't be removed.
    pub async fn off(&self) -> io::Result<()> {
        match fs::remove_file(&self.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync_folder().await,
        }
    }

    async fn sync_folder(&self) -> io::Result<()> {
        match self.path.parent() {
            Some(folder) => fs::File::open(folder).await?.sync_all().await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_on_while_the_file_is_there_whoever_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        let switch = KillSwitch::in_folder(folder.path());
        assert_eq!(switch.why(), None);
        switch
            .on("the network is being rebuilt (by ada)")
            .await
            .unwrap();
        let after_a_restart = KillSwitch::in_folder(folder.path());
        assert_eq!(
            after_a_restart.why().as_deref(),
            Some("the network is being rebuilt (by ada)")
        );
        switch.off().await.unwrap();
        switch.off().await.unwrap();
        assert_eq!(switch.why(), None);
        std::fs::write(folder.path().join(FILE_NAME), [0xff, b'\n', 0x1b, b'x']).unwrap();
        assert_eq!(switch.why().as_deref(), Some("\u{fffd} x"));
        std::fs::write(folder.path().join(FILE_NAME), "").unwrap();
        assert_eq!(switch.why().as_deref(), Some("no reason is given"));
    }

    #[tokio::test]
    async fn what_can_not_be_read_counts_as_on() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FILE_NAME)).unwrap();
        assert!(
            KillSwitch::in_folder(folder.path())
                .why()
                .unwrap()
                .contains("can't be read")
        );
    }
}
