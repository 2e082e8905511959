//! The data folder: private to its owner, and used by one process of each role at a time.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anomalyzer_domain::rfc3339;

use super::clock::now_ms;

/// Mode of folders, and of files.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Maximum length of the text in a lock file.
const MAX_HOLDER_BYTES: u64 = 200;

/// Reason why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// The folder cannot be created or locked.
    #[error("cannot use the data folder {}: {error}; give this user a folder to write to", .path.display())]
    Io {
        /// Path of the folder, or of a file in it.
        path: PathBuf,
        /// Cause of the failure.
        error: io::Error,
    },
    /// Another process uses the folder.
    #[error(
        "another anomalyzer uses {}: {holder}; stop it, or give this one a data folder of its own (`data_dir`, or --data-dir)",
        .path.display()
    )]
    InUse {
        /// Path of the folder.
        path: PathBuf,
        /// Process that holds the lock, in words.
        holder: String,
    },
}

/// Data folder that this process uses. Dropping it releases the folder.
#[derive(Debug)]
pub struct DataFolder {
    _locks: Vec<File>,
}

impl DataFolder {
    /// Creates the folder if it does not exist, makes it private, and locks it for `roles`.
    ///
    /// # Errors
    /// Another process uses the folder in one of the roles, or the folder cannot be used.
    pub fn open(path: &Path, roles: &[&str]) -> Result<Self, DataFolderError> {
        let failed = |at: &Path| {
            let path = at.to_owned();
            move |error| DataFolderError::Io { path, error }
        };
        create_private_folder(path).map_err(failed(path))?;
        let mut locks = Vec::with_capacity(roles.len());
        for role in roles {
            let lock = path.join(format!("{role}.lock"));
            let mut file = private_file(&lock).map_err(failed(&lock))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let path = path.to_owned();
                    let holder = holder(&mut file);
                    return Err(DataFolderError::InUse { path, holder });
                }
                Err(TryLockError::Error(error)) => return Err(failed(&lock)(error)),
            }
            let id = std::process::id();
            let text = format!("process {id}, since {}", rfc3339(now_ms()));
            // A full disk must not keep the service from starting: the lock holds without the text.
            if let Err(error) = replace(&mut file, &text) {
                tracing::warn!(path = %lock.display(), %error, "cannot write who uses the data folder");
            }
            locks.push(file);
        }
        make_private(path);
        Ok(Self { _locks: locks })
    }
}

/// Creates a folder, with its parents, that only its owner can read.
///
/// # Errors
/// The folder cannot be created.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)
}

/// Opens a file to read and to write, and creates it so that only its owner can read it.
///
/// # Errors
/// The file cannot be opened, or is no regular file.
pub fn private_file(path: &Path) -> io::Result<File> {
    anomalyzer_regular_file::open_or_create(path)
}

/// Takes the rights of others on a folder, and on everything in it, away. Follows no links. Another
/// owner's file keeps its mode, and a warning says so.
pub fn make_private(path: &Path) {
    let mut kept = 0_usize;
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        kept += usize::from(tighten(&folder, FOLDER_MODE).is_err());
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    kept += usize::from(tighten(&entry.path(), FILE_MODE).is_err());
                }
                // A link, a pipe or a socket is not a file of ours.
                _ => {}
            }
        }
    }
    if kept > 0 {
        tracing::warn!(
            path = %path.display(),
            kept,
            "others may read files of the data folder, and this user cannot change their modes"
        );
    }
}

/// Takes away the rights that `mode` does not give.
fn tighten(path: &Path, mode: u32) -> io::Result<()> {
    let present = fs::symlink_metadata(path)?.permissions().mode() & 0o777;
    if present & !mode == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(present & mode))
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(MAX_HOLDER_BYTES).read_to_string(&mut text);
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "an unknown process".to_owned(),
    }
}

fn replace(file: &mut File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_with_the_name_of_the_first_in_each_role() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = DataFolder::open(&path, &["server"]).unwrap();
        let error = DataFolder::open(&path, &["server", "engine"]).unwrap_err();
        let text = error.to_string();
        let id = std::process::id();
        assert!(text.contains(&format!("process {id}, since 20")), "{text}");
        assert!(text.contains("another anomalyzer uses"), "{text}");
        let engine = DataFolder::open(&path, &["engine"]).unwrap();
        drop((first, engine));
        DataFolder::open(&path, &["server", "engine"]).unwrap();
    }

    #[test]
    fn the_folder_and_all_in_it_belong_to_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let inner = path.join("plugins/known");
        fs::create_dir_all(&inner).unwrap();
        let open = Permissions::from_mode(0o777);
        let outside = folder.path().join("outside");
        for file in [&path.join("bus.sqlite"), &inner.join("a"), &outside] {
            fs::write(file, "x").unwrap();
            fs::set_permissions(file, open.clone()).unwrap();
        }
        fs::set_permissions(&inner, open).unwrap();
        std::os::unix::fs::symlink(&outside, path.join("link")).unwrap();
        let _data = DataFolder::open(&path, &["server"]).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for folder in [&path, &inner] {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
        for file in ["bus.sqlite", "plugins/known/a", "server.lock"] {
            assert_eq!(mode(&path.join(file)), 0o600, "{file}");
        }
        assert_eq!(mode(&outside), 0o777, "a link leads elsewhere");
    }
}
