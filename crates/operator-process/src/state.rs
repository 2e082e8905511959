//! State of the groups that survives restarts of the host, in one small JSON file.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anomalyzer_regular_file as regular_file;
use serde::{Deserialize, Serialize};

use super::environment::Overlay;

/// Maximum size of the file, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Desired state of one group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Number of replicas.
    pub replicas: u32,
    /// Counter that rises with every operation. Snapshots use it as their version.
    pub generation: u64,
    /// Counter that rises with every change that makes running replicas obsolete.
    pub revision: u64,
    /// Mark of the last operation.
    pub last_operation: Option<String>,
    /// Variables set by patches.
    pub environment: Overlay,
    /// Value of `environment` before its last change.
    pub previous_environment: Option<Overlay>,
}

impl Wanted {
    /// Returns the version for a snapshot.
    pub fn version(&self) -> String {
        self.generation.to_string()
    }
}

/// Desired state of all groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Groups by name.
    pub groups: BTreeMap<String, Wanted>,
}

/// Reason why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Failed read or write.
    #[error("cannot use {path}: {error}; remove or replace it")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        error: io::Error,
    },
    /// Unexpected content.
    #[error(
        "{path} is damaged ({error}): put it right, or delete it to start with the configured replicas"
    )]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        error: serde_json::Error,
    },
    /// Locked directory. Two hosts would kill each other's processes.
    #[error("another anomalyzer uses {0}: stop it, or give this one a data directory of its own")]
    InUse(PathBuf),
}

/// The state file, with the lock that keeps a second host from using it.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    _lock: File,
}

impl StateFile {
    /// Takes the lock and reads the saved state.
    pub fn open(data_dir: &Path) -> Result<(Self, Saved), StateError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| StateError::Io { path, error }
        };
        fs::create_dir_all(data_dir).map_err(io(data_dir))?;
        let lock_path = data_dir.join("local.lock");
        let lock = regular_file::open_or_create(&lock_path).map_err(io(&lock_path))?;
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
        let saved = match regular_file::read(&path, MAX_BYTES) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| StateError::Damaged {
                path: path.clone(),
                error,
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Saved::default(),
            Err(error) => return Err(StateError::Io { path, error }),
        };
        Ok((Self { path, _lock: lock }, saved))
    }

    /// Replaces the file's content. The content is durable when this returns. After a crash the
    /// file has the old or the new content, never a part of it.
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
