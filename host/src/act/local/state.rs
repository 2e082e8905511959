//! What the operator knows of its groups across restarts of the host, in one small JSON file.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::environment::Overlay;

/// What one group should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// How many replicas.
    pub replicas: u32,
    /// Rises with every operation: the version that a snapshot names.
    pub generation: u64,
    /// Rises with every change that makes running replicas obsolete.
    pub revision: u64,
    /// The mark of the last operation.
    pub last_operation: Option<String>,
    /// Variables set by patches.
    pub environment: Overlay,
    /// What `environment` was before its last change.
    pub previous_environment: Option<Overlay>,
}

impl Wanted {
    /// What a snapshot names it.
    pub fn version(&self) -> String {
        self.generation.to_string()
    }
}

/// What all groups should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// By name.
    pub groups: BTreeMap<String, Wanted>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Reading or writing failed.
    #[error("cannot use {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is not what we write.
    #[error(
        "{path} is damaged ({error}): put it right, or delete it to start with the configured replicas"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// Two hosts would kill each other's processes.
    #[error("another anomalyzer uses {0}: stop it, or give this one a data directory of its own")]
    InUse(PathBuf),
}

/// The file, and the lock that keeps a second host from using it.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    _lock: File,
}

impl StateFile {
    /// Takes the lock and reads what is there.
    pub fn open(data_dir: &Path) -> Result<(Self, Saved), StateError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| StateError::Io { path, error }
        };
        fs::create_dir_all(data_dir).map_err(io(data_dir))?;
        let lock_path = data_dir.join("local.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(data_dir.to_owned())),
            Err(TryLockError::Error(error)) => {
                return Err(StateError::Io {
                    path: lock_path,
                    error,
                });
            }
        }
        let path = data_dir.join("local.json");
        let saved = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| StateError::Damaged {
                path: path.clone(),
                error,
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Saved::default(),
            Err(error) => return Err(StateError::Io { path, error }),
        };
        Ok((Self { path, _lock: lock }, saved))
    }

    /// Replaces the file's content. Durable when it returns; after a crash the file has the old or
    /// the new content, never half of it.
    pub fn save(&self, saved: &Saved) -> Result<(), StateError> {
        let io = |error| StateError::Io {
            path: self.path.clone(),
            error,
        };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(io)?;
        let bytes = serde_json::to_vec_pretty(saved).map_err(|error| io(error.into()))?;
        file.write_all(&bytes).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(&self.path).map_err(|error| io(error.error))?;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = Wanted {
            replicas: 3,
            generation: 7,
            last_operation: Some("op-1".into()),
            ..Wanted::default()
        };
        let saved = Saved {
            groups: BTreeMap::from([("web".to_owned(), wanted)]),
        };
        let (file, before) = StateFile::open(dir.path()).unwrap();
        assert_eq!(before, Saved::default());
        file.save(&saved).unwrap();
        drop(file);
        assert_eq!(StateFile::open(dir.path()).unwrap().1, saved);
    }

    #[test]
    fn a_second_host_is_told_that_the_directory_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let _first = StateFile::open(dir.path()).unwrap();
        assert!(matches!(
            StateFile::open(dir.path()),
            Err(StateError::InUse(_))
        ));
    }

    #[test]
    fn a_damaged_file_is_named_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("local.json"), "{\"groups\": 5").unwrap();
        let error = StateFile::open(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("local.json is damaged") && error.contains("delete it"),
            "{error}"
        );
    }
}
