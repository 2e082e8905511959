//! Temporary folders that are removed even if their owner is killed.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Common prefix of the folders' names.
pub(crate) const PREFIX: &str = "anomalyzer-testbed-";
const OWNED: &str = "owned";
/// Age below which a folder without a lock counts as new: its owner is about to lock it.
const YOUNG: Duration = Duration::from_secs(60);

/// Folder of a server, which is removed when it is dropped. The owner holds a lock in it. If the
/// owner is killed, the lock is released, and the next process to make a folder removes it.
#[derive(Debug)]
pub(crate) struct Folder {
    folder: tempfile::TempDir,
    _lock: File,
}

impl Folder {
    /// Creates a folder for the server `name`.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let place = std::env::temp_dir();
        sweep(&place);
        let make = || -> Result<Self> {
            let folder = tempfile::Builder::new()
                .prefix(&format!("{PREFIX}{name}-"))
                .tempdir_in(&place)?;
            let lock = File::create(folder.path().join(OWNED))?;
            lock.try_lock()?;
            Ok(Self {
                folder,
                _lock: lock,
            })
        };
        make().with_context(|| format!("cannot make a folder in {}", place.display()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders in `place` whose owners were killed.
fn sweep(place: &Path) {
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&entry.path()) {
            // The folder belongs to another user, or another process removed it first.
            let _refused = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn is_abandoned(folder: &Path) -> bool {
    let age = folder
        .metadata()
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age > YOUNG)
        && File::open(folder.join(OWNED)).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_old_folder_without_a_living_owner_is_abandoned() {
        let age = |folder: &Path| {
            let long_ago = std::time::SystemTime::now() - 2 * YOUNG;
            File::open(folder).unwrap().set_modified(long_ago).unwrap();
        };
        let owned = Folder::new("test").unwrap();
        age(owned.path());
        assert!(!is_abandoned(owned.path()), "its owner lives");

        let left = tempfile::tempdir().unwrap();
        File::create(left.path().join(OWNED)).unwrap();
        assert!(!is_abandoned(left.path()), "it is young");
        age(left.path());
        assert!(is_abandoned(left.path()));
    }
}
