//! Keeps compiled code and descriptions in the cache folder, and finds them by the digest of the
//! bytes that they came from.
//!
//! `code/` is the runtime's own cache. `encoded/<digest>` is the component that was made of a core
//! module. `known/<settings>/<digest>` names the file in `code/` that holds the code of a
//! component, with the digests of all files and the description of the plugin, for one version and
//! setting of the compiler. `refused/<settings>/<digest>` holds the limits that a component
//! reached. A bomb in the plugin folder therefore costs the time of one start, and not of every
//! start. `.work-*` are the work folders of children. The output of a child is moved to the cache
//! only when the child is done and its result is to run. A child that is stopped in the middle and
//! a plugin that is refused therefore leave nothing behind in the cache.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use anomalyzer_common::data_folder::{create_private_folder, make_private};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use wasmtime::{Cache, CacheConfig};

use super::super::config::Limits;
use super::super::error::PluginError;
use super::super::plugin_info::{Description, digest as digest_of};
use super::super::regular_file;

/// File of the description, in the work folder of a child.
pub(super) const DESCRIPTION: &str = "description.json";
/// File of the component that was made of a core module, in the work folder of a child.
pub(super) const ENCODED: &str = "encoded.wasm";

/// Subfolder in which the runtime keeps code, inside the folder that it is given.
const MODULES: &str = "modules";
/// Age of the last change of a folder from which on its time tells all changes.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// Maximum size of a description or an index entry, in bytes.
const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;
/// Maximum size of one file of compiled code or of one encoded component, in bytes.
const MAX_CODE_BYTES: u64 = 1 << 30;
/// Maximum number of noted refusals. The oldest one makes room.
const MAX_REFUSALS: usize = 1000;
/// Beginnings of the names of work folders. The second one is that of earlier versions.
const WORK_PREFIXES: [&str; 2] = [".work-", ".desk-"];
/// Age from which on the work folder of a child belongs to no running child.
const WORK_FOLDER_AGE: Duration = Duration::from_secs(3600);

/// Store of compiled code.
pub(super) struct ArtifactStore {
    folder: PathBuf,
    max_bytes: u64,
    bytes: AtomicU64,
    /// Lock for changes of the files.
    changing: Mutex<()>,
    /// Time of the last change of the runtime's files that others cannot read any more.
    private_until: Mutex<Option<SystemTime>>,
    /// Temporary folder, which is removed at the end.
    _temporary: Option<TempDir>,
}

/// Entry of the index.
#[derive(Serialize, Deserialize)]
struct Known {
    artifact: Artifact,
    description: Description,
}

/// Files that hold the compiled code of a plugin.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Artifact {
    /// Path below the folder of the runtime's cache.
    code: PathBuf,
    /// SHA-256 of that file.
    code_sha256: String,
    /// SHA-256 of the component that was made of a core module.
    component: Option<String>,
}

impl Artifact {
    /// Returns the SHA-256 of the component that was made of a core module.
    pub(super) fn component(&self) -> Option<&str> {
        self.component.as_deref()
    }
}

impl ArtifactStore {
    /// Uses `folder`, and makes it if it does not exist. Only this user has access to a new folder.
    pub(super) fn at(folder: &Path, max_bytes: u64) -> Result<Self, PluginError> {
        let unusable = |error: io::Error| {
            PluginError::Runtime(format!(
                "the cache folder {} can't be used: {error}; set plugins.cache to a folder that belongs to the service",
                folder.display()
            ))
        };
        let folder = std::path::absolute(folder).map_err(unusable)?;
        create_private_folder(&folder).map_err(unusable)?;
        let store = Self::of(folder, max_bytes, None);
        for folder in [store.code(), store.encoded_folder()] {
            create_private_folder(&folder).map_err(unusable)?;
            // An earlier version left the folder open to others.
            make_private(&folder);
        }
        store.remove_abandoned_work_folders();
        store.trim(None);
        Ok(store)
    }

    /// Takes the rights of others on new files of the runtime away: it writes its code and its
    /// statistics with the usual rights, the latter in a thread of its own.
    pub(super) fn make_new_files_private(&self) {
        let compilers = fs::read_dir(self.code().join(MODULES));
        let compilers = compilers.into_iter().flatten().flatten();
        let changed = compilers.filter_map(|compiler| compiler.metadata().ok()?.modified().ok());
        let Some(changed) = changed.max() else { return };
        let mut private_until = self.private_until.lock();
        if *private_until >= Some(changed) {
            return;
        }
        make_private(&self.code());
        // Another file may be written within the resolution of the time.
        if changed.elapsed().is_ok_and(|age| age > SETTLED_AFTER) {
            *private_until = Some(changed);
        }
    }

    /// Uses a private folder that is removed at the end.
    pub(super) fn temporary(max_bytes: u64) -> Result<Self, PluginError> {
        let folder = tempfile::Builder::new()
            .prefix("anomalyzer-compiled-")
            .tempdir()
            .map_err(|error| {
                PluginError::Runtime(format!("no temporary folder for compiled plugins: {error}"))
            })?;
        Ok(Self::of(folder.path().to_owned(), max_bytes, Some(folder)))
    }

    fn of(folder: PathBuf, max_bytes: u64, temporary: Option<TempDir>) -> Self {
        Self {
            folder,
            max_bytes,
            bytes: AtomicU64::new(0),
            changing: Mutex::new(()),
            private_until: Mutex::new(None),
            _temporary: temporary,
        }
    }

    /// Returns the runtime's cache in the folder.
    pub(super) fn cache(&self) -> Result<Cache, PluginError> {
        cache_in(&self.code()).map_err(PluginError::Runtime)
    }

    /// Returns the size of the files, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Finds the code of the bytes with that digest, compiled with the settings of `engine`. Code
    /// that was changed is not found.
    pub(super) fn find(
        &self,
        engine: &wasmtime::Engine,
        digest: &str,
    ) -> Option<(Artifact, Description)> {
        let path = self.of_settings(engine, "known").join(digest);
        let entry = regular_file::read(&path, MAX_DESCRIPTION_BYTES).ok()?;
        let Known {
            artifact,
            description,
        } = serde_json::from_slice(&entry).ok()?;
        let code = self.code().join(MODULES).join(&artifact.code);
        let bytes = regular_file::read(&code, MAX_CODE_BYTES).ok()?;
        if digest_of(&bytes) != artifact.code_sha256 {
            return None;
        }
        if let Some(component) = &artifact.component {
            self.encoded(digest, component).ok()?;
        }
        // The time of the last use decides what makes room for other code.
        let _ = fs::File::open(&code).and_then(|file| file.set_modified(SystemTime::now()));
        Some((artifact, description))
    }

    /// Returns the component that was made of the core module with that digest. `sha256` is the
    /// digest of the component.
    pub(super) fn encoded(&self, digest: &str, sha256: &str) -> Result<Vec<u8>, String> {
        let path = self.encoded_folder().join(digest);
        let bytes = regular_file::read(&path, MAX_CODE_BYTES)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        match digest_of(&bytes) == sha256 {
            true => Ok(bytes),
            false => Err(format!("{} was changed", path.display())),
        }
    }

    /// Makes a work folder for one child.
    pub(super) fn work_folder(&self) -> Result<TempDir, String> {
        tempfile::Builder::new()
            .prefix(WORK_PREFIXES[0])
            .tempdir_in(&self.folder)
            .map_err(|error| self.full(&error))
    }

    /// Reads the description that a child left in its work folder.
    pub(super) fn description(&self, work_folder: &Path) -> Result<Description, String> {
        let unusable = |error: &dyn std::fmt::Display| {
            format!("the compiler left no usable description: {error}")
        };
        let text = regular_file::read(&work_folder.join(DESCRIPTION), MAX_DESCRIPTION_BYTES)
            .map_err(|error| unusable(&error))?;
        serde_json::from_slice(&text).map_err(|error| unusable(&error))
    }

    /// Moves the output of a child from its work folder to the cache, and notes its digest.
    pub(super) fn take_over(
        &self,
        engine: &wasmtime::Engine,
        digest: &str,
        work_folder: &Path,
    ) -> Result<Artifact, String> {
        let description = self.description(work_folder)?;
        let _changing = self.changing.lock();
        let kept = (|| {
            let made = work_folder.join("code").join(MODULES);
            let Some(code) = only_file(&made)? else {
                return Err(io::Error::other("the compiler left nothing in its folder"));
            };
            let bytes = regular_file::read(&made.join(&code), MAX_CODE_BYTES)?;
            let component = match regular_file::read(&work_folder.join(ENCODED), MAX_CODE_BYTES) {
                Ok(encoded) => Some(digest_of(&encoded)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            let place = self.code().join(MODULES).join(&code);
            create_private_folder(place.parent().unwrap_or(&place))?;
            fs::rename(made.join(&code), &place)?;
            if component.is_some() {
                create_private_folder(&self.encoded_folder())?;
                let encoded = self.encoded_folder().join(digest);
                fs::rename(work_folder.join(ENCODED), encoded)?;
            }
            self.make_new_files_private();
            let known = Known {
                artifact: Artifact {
                    code,
                    code_sha256: digest_of(&bytes),
                    component,
                },
                description,
            };
            self.note(engine, "known", digest, &serde_json::to_string(&known)?)?;
            Ok((known.artifact, place))
        })();
        let (artifact, place) = kept.map_err(|error: io::Error| self.full(&error))?;
        self.trim(Some(&place));
        Ok(artifact)
    }

    /// Removes the code of bytes, unless it is also the code of other bytes.
    pub(super) fn forget(&self, engine: &wasmtime::Engine, digest: &str) {
        let Some((artifact, _)) = self.find(engine, digest) else {
            return;
        };
        let _changing = self.changing.lock();
        let known = self.of_settings(engine, "known");
        let of_others = fs::read_dir(&known).into_iter().flatten().flatten();
        let shared = of_others
            .filter(|entry| entry.file_name() != digest)
            .filter_map(|entry| regular_file::read(&entry.path(), MAX_DESCRIPTION_BYTES).ok())
            .filter_map(|text| serde_json::from_slice::<Known>(&text).ok())
            .any(|other| other.artifact.code == artifact.code);
        let _ = fs::remove_file(known.join(digest));
        let _ = fs::remove_file(self.encoded_folder().join(digest));
        if !shared {
            remove_code(&self.code().join(MODULES).join(&artifact.code));
        }
        self.trim(None);
    }

    /// Returns the reason why the component was refused, if that was for these limits or higher
    /// ones.
    pub(super) fn refused(
        &self,
        engine: &wasmtime::Engine,
        digest: &str,
        limits: &Limits,
    ) -> Option<String> {
        let path = self.of_settings(engine, "refused").join(digest);
        let noted = regular_file::read_text(&path, MAX_DESCRIPTION_BYTES).ok()?;
        let mut lines = noted.splitn(3, '\n');
        let (cpu, memory): (u64, u64) = (lines.next()?.parse().ok()?, lines.next()?.parse().ok()?);
        let not_higher =
            limits.compile_cpu.as_secs() <= cpu && limits.compile_memory_bytes <= memory;
        not_higher.then(|| lines.next().unwrap_or_default().to_owned())
    }

    /// Notes that the component reached one of these limits.
    pub(super) fn refuse(
        &self,
        engine: &wasmtime::Engine,
        digest: &str,
        limits: &Limits,
        why: &str,
    ) {
        let (cpu, memory) = (limits.compile_cpu.as_secs(), limits.compile_memory_bytes);
        let _changing = self.changing.lock();
        let mut noted = files_in(&self.of_settings(engine, "refused"));
        noted.sort_by_key(|file| file.used);
        for oldest in noted.iter().rev().skip(MAX_REFUSALS - 1) {
            let _ = fs::remove_file(&oldest.path);
        }
        if let Err(error) = self.note(
            engine,
            "refused",
            digest,
            &format!("{cpu}\n{memory}\n{why}"),
        ) {
            tracing::warn!(plugin.digest = digest, "{}", self.full(&error));
        }
    }

    /// Writes a note as a whole or not at all.
    fn note(
        &self,
        engine: &wasmtime::Engine,
        what: &str,
        digest: &str,
        text: &str,
    ) -> io::Result<()> {
        let folder = self.of_settings(engine, what);
        create_private_folder(&folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.persist(folder.join(digest))?;
        Ok(())
    }

    /// Removes the files that were not used for the longest time, until the rest fits the bound.
    /// Keeps the file `newest`. The runtime does not clean its cache, because the children store
    /// the code.
    fn trim(&self, newest: Option<&Path>) {
        let modules = self.code().join(MODULES);
        let compilers = fs::read_dir(&modules).into_iter().flatten().flatten();
        let mut files: Vec<StoredFile> = compilers
            .flat_map(|compiler| files_in(&compiler.path()))
            .collect();
        files.extend(files_in(&self.encoded_folder()));
        files.sort_by_key(|file| file.used);
        let mut total: u64 = files.iter().map(|file| file.size).sum();
        for file in files {
            if total <= self.max_bytes {
                break;
            }
            if Some(file.path.as_path()) != newest {
                tracing::info!(path = %file.path.display(), "removed compiled plugin code, which was not used for the longest time");
                remove_code(&file.path);
                total -= file.size;
            }
        }
        self.bytes.store(total, Relaxed);
    }

    /// Removes the work folders of children whose parent was killed.
    fn remove_abandoned_work_folders(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_work_folder = WORK_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            let changed = entry.metadata().and_then(|found| found.modified());
            let age = changed.ok().and_then(|changed| changed.elapsed().ok());
            if is_work_folder && age.is_some_and(|age| age > WORK_FOLDER_AGE) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn code(&self) -> PathBuf {
        self.folder.join("code")
    }

    fn encoded_folder(&self) -> PathBuf {
        self.folder.join("encoded")
    }

    fn of_settings(&self, engine: &wasmtime::Engine, what: &str) -> PathBuf {
        let mut hash = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hash);
        self.folder
            .join(what)
            .join(format!("{:016x}", hash.finish()))
    }

    fn full(&self, error: &io::Error) -> String {
        format!(
            "what was compiled can't be kept in {}: {error}; see plugins.cache",
            self.folder.display()
        )
    }
}

/// File of the store, with the time of its last use.
struct StoredFile {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

/// Returns the files in a folder, besides the runtime's statistics. A missing folder has no files.
fn files_in(folder: &Path) -> Vec<StoredFile> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found
        .filter_map(|entry| {
            let (path, found) = (entry.path(), entry.metadata().ok()?);
            (found.is_file() && path.extension().is_none()).then_some(StoredFile {
                size: found.len(),
                used: found.modified().ok()?,
                path,
            })
        })
        .collect()
}

/// Removes a file of code, with the runtime's statistics about it.
fn remove_code(path: &Path) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_file(path.with_extension("stats"));
}

/// Opens the runtime's cache in a folder.
fn cache_in(folder: &Path) -> Result<Cache, String> {
    let mut config = CacheConfig::new();
    config.with_directory(folder);
    // The runtime would write code that is used often anew, and the index would not know it.
    config.with_optimized_compression_usage_counter_threshold(u64::MAX);
    Cache::new(config).map_err(|error| format!("{error:#}"))
}

/// Returns the path `<compiler>/<key>` of the file that holds code. Its name has no extension.
fn only_file(folder: &Path) -> io::Result<Option<PathBuf>> {
    for compiler in fs::read_dir(folder)? {
        let compiler = compiler?;
        for file in fs::read_dir(compiler.path())? {
            let name = PathBuf::from(file?.file_name());
            if name.extension().is_none() {
                return Ok(Some(Path::new(&compiler.file_name()).join(name)));
            }
        }
    }
    Ok(None)
}
