//! Small lists stored in JSON files that survive restarts.

use parking_lot::RwLock;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::set_aside::{SetAside, set_aside};

/// Maximum size of a file in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Error of reading or writing a list.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub struct JsonStoreError {
    path: PathBuf,
    reason: String,
}

/// List stored in a file. Clones share the list.
#[derive(Debug)]
pub struct JsonStore<T> {
    path: PathBuf,
    known: Arc<RwLock<Vec<T>>>,
    /// Lock held while the file is written.
    writing: Arc<Mutex<()>>,
    set_aside: Option<Arc<SetAside>>,
}

impl<T> Clone for JsonStore<T> {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            known: Arc::clone(&self.known),
            writing: Arc::clone(&self.writing),
            set_aside: self.set_aside.clone(),
        }
    }
}

impl<T: Clone + Serialize + DeserializeOwned> JsonStore<T> {
    /// Reads the list from the file; it is empty if there is no file. A damaged file is moved
    /// aside, and the list is empty then too. `without` describes the effect.
    ///
    /// # Errors
    /// Returns an error if a damaged file can't be moved aside.
    pub fn open(path: PathBuf, without: &str) -> Result<Self, JsonStoreError> {
        let (known, aside) = match read(&path) {
            Ok(known) => (known, None),
            Err(why) => match set_aside(&path, format!("{why}; {without}")) {
                Ok(aside) => (Vec::new(), Some(Arc::new(aside))),
                Err(error) => {
                    let reason = format!("{why}, and it can't be moved aside: {error}; remove it");
                    return Err(JsonStoreError { path, reason });
                }
            },
        };
        Ok(Self {
            path,
            known: Arc::new(RwLock::new(known)),
            writing: Arc::default(),
            set_aside: aside,
        })
    }

    /// Returns the damaged file that was moved aside when the list was opened.
    pub fn set_aside(&self) -> Option<&SetAside> {
        self.set_aside.as_deref()
    }

    /// Calls `look` with the list.
    pub fn with<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        look(&self.known.read())
    }

    /// Changes the list. The change is durable on return. After an error the list is unchanged.
    pub async fn change<R, E: From<JsonStoreError>>(
        &self,
        change: impl FnOnce(&mut Vec<T>) -> Result<R, E>,
    ) -> Result<R, E> {
        let _writing = self.writing.lock().await;
        let mut next = self.with(<[T]>::to_vec);
        let changed = change(&mut next)?;
        let bytes = serde_json::to_vec_pretty(&next).unwrap_or_default();
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || write(&path, &bytes)).await;
        let failed = |reason: String| {
            E::from(JsonStoreError {
                path: self.path.clone(),
                reason,
            })
        };
        written
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        *self.known.write() = next;
        Ok(changed)
    }
}

/// Reads a list.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, String> {
    match anomalyzer_regular_file::read(path, MAX_BYTES) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// Replaces the file with a new one. After a crash there is either the old or the new file,
/// complete.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_moved_aside_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.json");
        let make: [(&str, &dyn Fn()); 4] = [
            ("half a list", &|| std::fs::write(&path, "[1, ").unwrap()),
            ("another type", &|| std::fs::write(&path, "{}").unwrap()),
            ("a pipe", &|| {
                use rustix::fs::{CWD, FileType, Mode, mknodat};
                mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            }),
            ("a huge file", &|| {
                std::fs::File::create(&path)
                    .unwrap()
                    .set_len(1 << 40)
                    .unwrap();
            }),
        ];
        for (what, make) in make {
            make();
            let store = JsonStore::<u32>::open(path.clone(), "nothing is known").unwrap();
            let aside = store.set_aside().unwrap();
            assert!(
                aside.reason.ends_with("; nothing is known"),
                "{what}: {aside}"
            );
            assert!(!path.exists() && aside.path.exists(), "{what}");
            assert!(store.with(<[u32]>::is_empty));
            let again = JsonStore::<u32>::open(path.clone(), "nothing is known").unwrap();
            assert!(again.set_aside().is_none(), "{what}");
            std::fs::remove_file(&aside.path).unwrap();
        }
    }
}
