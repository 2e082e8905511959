//! Stores the plugins on disk: the bytes of each version under their digest, and a record of each
//! plugin.

use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::record::PluginRecord;
use crate::regular_file;
use crate::signature::SIGNATURE_BYTES;

/// Maximum size of a record, in bytes.
const MAX_RECORD_BYTES: u64 = 16 << 20;

/// Plugin repository in a folder that belongs to the host alone. Bytes are checked against their
/// digest before they run.
#[derive(Debug)]
pub struct PluginRepository {
    folder: PathBuf,
}

impl PluginRepository {
    /// Opens the repository in a folder, and makes the folder.
    pub fn open(folder: &Path) -> Result<Self, String> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Returns every readable record, sorted by name, and the errors of the other records.
    pub fn records(&self) -> Result<(Vec<PluginRecord>, Vec<String>), String> {
        let unreadable =
            |error: std::io::Error| format!("cannot read {}: {error}", self.folder.display());
        let (mut records, mut broken) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let read =
                regular_file::read(&path, MAX_RECORD_BYTES).map_err(|error| error.to_string());
            match read.and_then(|bytes| {
                serde_json::from_slice::<PluginRecord>(&bytes).map_err(|error| error.to_string())
            }) {
                Ok(record) if self.of_record(&record.name) == path => records.push(record),
                Ok(record) => broken.push(format!(
                    "{} is the record of `{}`",
                    path.display(),
                    record.name
                )),
                Err(error) => broken.push(format!("{}: {error}", path.display())),
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((records, broken))
    }

    /// Returns the bytes of a version. Returns an error if they no longer match their digest.
    pub fn bytes(&self, digest: &str, max: u64) -> Result<Vec<u8>, String> {
        let path = self.of_bytes(digest);
        let with_path = |error: std::io::Error| format!("{}: {error}", path.display());
        let bytes = regular_file::read(&path, max).map_err(with_path)?;
        if hex::encode(Sha256::digest(&bytes)) != digest {
            return Err(format!(
                "{} was changed: its SHA-256 is another",
                path.display()
            ));
        }
        Ok(bytes)
    }

    /// Stores the bytes of a version. Bytes that are stored and intact stay as they are.
    pub fn put_bytes(&self, digest: &str, bytes: &[u8]) -> Result<(), String> {
        match self.bytes(digest, bytes.len() as u64) {
            Ok(_) => Ok(()),
            Err(_) => self.replace(&self.of_bytes(digest), bytes),
        }
    }

    /// Stores the signature of a version.
    pub fn put_signature(&self, digest: &str, signature: &str) -> Result<(), String> {
        self.replace(&self.of_signature(digest), signature.as_bytes())
    }

    /// Returns the stored signature of a version. Returns None if there is none.
    pub fn signature(&self, digest: &str) -> Result<Option<String>, String> {
        let path = self.of_signature(digest);
        match regular_file::read(&path, SIGNATURE_BYTES) {
            Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Stores the record of a plugin.
    pub fn put_record(&self, record: &PluginRecord) -> Result<(), String> {
        let text = serde_json::to_vec_pretty(record).map_err(|error| error.to_string())?;
        self.replace(&self.of_record(&record.name), &text)
    }

    /// Removes the record of a plugin. The next [`PluginRepository::sweep`] removes its bytes.
    pub fn remove(&self, name: &str) -> Result<(), String> {
        let path = self.of_record(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes bytes and signatures that no record names.
    pub fn sweep(&self, named: impl Fn(&str) -> bool) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let stem = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            // Removes only files that the host stored under their digest.
            let ours = stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
            if ours
                && path
                    .extension()
                    .is_some_and(|extension| extension == "wasm" || extension == "minisig")
                && !named(stem)
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), %error, "failed to remove unreferenced plugin bytes");
            }
        }
    }

    /// Replaces a file atomically, even if the machine stops at any time.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), String> {
        let with_path = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(with_path)?;
        file.write_all(bytes).map_err(with_path)?;
        file.as_file().sync_all().map_err(with_path)?;
        file.persist(path).map_err(|error| with_path(error.error))?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(with_path)
    }

    fn of_bytes(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }

    fn of_signature(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.minisig"))
    }

    /// Returns the path of a record. A plugin's name has only lower-case letters, digits and
    /// hyphens.
    fn of_record(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::PluginKind;

    #[test]
    fn what_was_put_is_there_after_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let record = PluginRecord::new("spike", PluginKind::Detector);
        let digest = hex::encode(Sha256::digest(b"bytes"));
        {
            let repository = PluginRepository::open(folder.path()).unwrap();
            repository.put_bytes(&digest, b"bytes").unwrap();
            repository.put_signature(&digest, "signature").unwrap();
            repository.put_record(&record).unwrap();
        }
        let repository = PluginRepository::open(folder.path()).unwrap();
        assert_eq!(repository.bytes(&digest, 100).unwrap(), b"bytes");
        assert_eq!(repository.records().unwrap(), (vec![record], vec![]));
        fs::write(folder.path().join("somebody-elses.wasm"), b"other").unwrap();
        repository.sweep(|named| named == digest);
        assert!(repository.bytes(&digest, 100).is_ok());
        assert_eq!(repository.signature(&digest).unwrap().unwrap(), "signature");
        repository.sweep(|_| false);
        assert_eq!(repository.signature(&digest), Ok(None));
        assert!(repository.bytes(&digest, 100).is_err());
        assert!(folder.path().join("somebody-elses.wasm").exists());
        repository.remove("spike").unwrap();
        repository.remove("spike").unwrap();
        assert_eq!(repository.records().unwrap().0, []);
    }

    #[test]
    fn bytes_that_were_changed_are_not_handed_out_and_a_broken_record_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let repository = PluginRepository::open(folder.path()).unwrap();
        let digest = hex::encode(Sha256::digest(b"bytes"));
        fs::write(folder.path().join(format!("{digest}.wasm")), b"other").unwrap();
        assert!(
            repository
                .bytes(&digest, 100)
                .unwrap_err()
                .contains("was changed")
        );
        repository.put_bytes(&digest, b"bytes").unwrap();
        assert_eq!(
            repository.bytes(&digest, 100).unwrap(),
            b"bytes",
            "bytes of the same length are replaced too"
        );
        fs::write(folder.path().join("a.json"), b"{").unwrap();
        let (records, broken) = repository.records().unwrap();
        assert!(
            records.is_empty() && broken[0].contains("a.json"),
            "{broken:?}"
        );
    }
}
