//! Small lists stored in JSON files that survive restarts.

use parking_lot::RwLock;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

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
}

impl<T> Clone for JsonStore<T> {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            known: Arc::clone(&self.known),
            writing: Arc::clone(&self.writing),
        }
    }
}

impl<T: Clone + Serialize + DeserializeOwned> JsonStore<T> {
    /// Reads the list from the file; it is empty if there is no file. `without` describes the
    /// effect of removing the file, for the error message.
    ///
    /// # Errors
    /// Returns an error if the file exists and can't be read or does not contain a list of `T`.
    pub fn open(path: PathBuf, without: &str) -> Result<Self, JsonStoreError> {
        let read = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(known) => Ok(Self {
                path,
                known: Arc::new(RwLock::new(known)),
                writing: Arc::default(),
            }),
            Err(why) => Err(JsonStoreError {
                path,
                reason: format!("{why}; correct or remove the file, and {without}"),
            }),
        }
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
