//! Polls the plugin folder for new, changed and removed files.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Number of consecutive polls that must miss a file before the file counts as gone. A file that an
/// editor replaces therefore does not count as gone. A renamed file is found under its new name
/// before its old name counts as gone.
const MISSED: u32 = 3;

/// Fingerprint that tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    /// True if this stamp was handed out before.
    taken: bool,
    missed: u32,
}

/// Result of one poll.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Files that are new or have changed, and were not written to since the poll before.
    pub due: Vec<PathBuf>,
    /// Names of files that are gone.
    pub gone: Vec<String>,
}

/// Plugin folder, with the state of its files at the last poll.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    seen: Mutex<BTreeMap<String, Seen>>,
    /// Names of files that are being inspected. They are not handed out again meanwhile.
    busy: Mutex<BTreeSet<String>>,
}

impl Folder {
    /// Creates the view of a folder.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            seen: Mutex::default(),
            busy: Mutex::default(),
        }
    }

    /// Polls the folder. On the first poll, every file is due at once. On a later poll, a file is
    /// due only if it has not changed since the poll before, so that a file that is being written
    /// is left alone. If the folder can't be read, no file counts as gone.
    pub fn look(&self, first: bool) -> std::io::Result<Look> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default()
                .to_owned();
            // Editors and copying programs at work use names that begin with a dot.
            if !name.starts_with('.')
                && path
                    .extension()
                    .is_some_and(|extension| extension == "wasm")
                && let Ok(file) = fs::metadata(&path)
                && file.is_file()
            {
                let changed = (file.mtime(), file.mtime_nsec());
                found.insert(
                    name,
                    (
                        path,
                        Stamp {
                            inode: file.ino(),
                            size: file.size(),
                            changed,
                        },
                    ),
                );
            }
        }
        let mut look = Look::default();
        let mut seen = self.seen.lock();
        let mut busy = self.busy.lock();
        for (name, (path, stamp)) in &found {
            let rests = seen.get(name).is_some_and(|known| known.stamp == *stamp);
            let known = seen.entry(name.clone()).or_insert(Seen {
                stamp: *stamp,
                taken: false,
                missed: 0,
            });
            known.missed = 0;
            if !rests {
                (known.stamp, known.taken) = (*stamp, false);
            }
            if !known.taken && (rests || first) && busy.insert(name.clone()) {
                known.taken = true;
                look.due.push(path.clone());
            }
        }
        seen.retain(|name, known| {
            if found.contains_key(name) || busy.contains(name) {
                return true;
            }
            known.missed += 1;
            let gone = known.missed >= MISSED;
            if gone {
                look.gone.push(name.clone());
            }
            !gone
        });
        Ok(look)
    }

    /// Marks a due file as handled.
    pub fn done(&self, path: &Path) {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        self.busy.lock().remove(name);
    }

    /// Hands a file out again at the next poll.
    pub fn again(&self, name: &str) {
        if let Some(known) = self.seen.lock().get_mut(name) {
            known.taken = false;
        }
    }

    /// Returns true if the file exists now.
    pub fn has(&self, name: &str) -> bool {
        self.path.join(name).is_file()
    }

    /// Refuses a link that leads out of the folder, because nobody checked the write access to its
    /// destination.
    pub fn inside(&self, path: &Path) -> Result<(), String> {
        let (folder, file) = match (fs::canonicalize(&self.path), fs::canonicalize(path)) {
            (Ok(folder), Ok(file)) => (folder, file),
            (Err(error), _) | (_, Err(error)) => return Err(format!("it can't be read: {error}")),
        };
        if file.starts_with(&folder) {
            return Ok(());
        }
        Err("it is a link to a file outside of the plugin folder; copy the file here".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(look: &Look) -> Vec<String> {
        look.due
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_file_that_is_being_written_is_left_alone_until_it_rests() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        assert_eq!(folder.look(true).unwrap(), Look::default());
        let path = dir.path().join("a.wasm");
        fs::write(&path, b"ha").unwrap();
        assert_eq!(names(&folder.look(false).unwrap()), [""; 0]);
        fs::write(&path, b"half").unwrap();
        assert_eq!(names(&folder.look(false).unwrap()), [""; 0], "it grew");
        assert_eq!(names(&folder.look(false).unwrap()), ["a.wasm"]);
        assert_eq!(
            names(&folder.look(false).unwrap()),
            [""; 0],
            "it is being examined"
        );
        folder.done(&path);
        assert_eq!(
            names(&folder.look(false).unwrap()),
            [""; 0],
            "it has been examined"
        );
        fs::write(&path, b"whole").unwrap();
        folder.look(false).unwrap();
        assert_eq!(
            names(&folder.look(false).unwrap()),
            ["a.wasm"],
            "it changed"
        );
    }

    #[test]
    fn only_a_file_that_stays_away_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let (path, aside) = (dir.path().join("a.wasm"), dir.path().join("a.tmp"));
        fs::write(&path, b"a").unwrap();
        for due in folder.look(true).unwrap().due {
            folder.done(&due);
        }
        fs::rename(&path, &aside).unwrap();
        assert_eq!(folder.look(false).unwrap(), Look::default());
        fs::rename(&aside, &path).unwrap();
        assert_eq!(
            folder.look(false).unwrap(),
            Look::default(),
            "it is back as it was"
        );
        fs::remove_file(&path).unwrap();
        for _ in 1..MISSED {
            assert_eq!(folder.look(false).unwrap(), Look::default());
        }
        assert_eq!(folder.look(false).unwrap().gone, ["a.wasm"]);
        assert_eq!(folder.look(false).unwrap(), Look::default());
    }

    #[test]
    fn what_editors_leave_folders_and_other_files_are_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".a.wasm.swp", ".a.wasm", "a.wasm~", "a.wasm.part", "a.txt"] {
            fs::write(dir.path().join(name), b"a").unwrap();
        }
        fs::create_dir(dir.path().join("b.wasm")).unwrap();
        assert_eq!(Folder::new(dir.path()).look(true).unwrap(), Look::default());
    }

    #[test]
    fn a_link_may_not_lead_out_of_the_folder() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("a.wasm"), b"a").unwrap();
        fs::write(dir.path().join("b.wasm"), b"b").unwrap();
        std::os::unix::fs::symlink(other.path().join("a.wasm"), dir.path().join("a.wasm")).unwrap();
        std::os::unix::fs::symlink("b.wasm", dir.path().join("c.wasm")).unwrap();
        let folder = Folder::new(dir.path());
        assert!(
            folder
                .inside(&dir.path().join("a.wasm"))
                .unwrap_err()
                .contains("outside")
        );
        assert_eq!(folder.inside(&dir.path().join("c.wasm")), Ok(()));
    }

    #[test]
    fn a_folder_that_can_not_be_read_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        fs::write(dir.path().join("a.wasm"), b"a").unwrap();
        folder.look(true).unwrap();
        drop(dir);
        assert!(folder.look(false).is_err());
    }
}
