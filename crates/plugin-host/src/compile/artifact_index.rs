//! Keeps compiled code in the cache folder, and tells without a compilation if a component is in
//! it.
//!
//! `code/` is the runtime's own cache. `known/<settings>/<digest>` names the file in `code/` that
//! holds the code of a component, for one version and setting of the compiler.
//! `refused/<settings>/<digest>` holds the limits that a component reached. A bomb in the plugin
//! folder therefore costs the time of one start, and not of every start. `.desk-*` are the work
//! folders of children. The output of a child is moved to the cache only when the child is done. A
//! child that is stopped in the middle therefore leaves nothing behind in the cache.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{fs, io};

use tempfile::TempDir;
use wasmtime::{Cache, CacheConfig};

use super::super::config::Limits;
use super::super::error::PluginError;

/// Subfolder in which the runtime keeps code, inside the folder that it is given.
const MODULES: &str = "modules";

pub(super) struct Kept {
    folder: PathBuf,
    /// Temporary folder, which is removed at the end.
    _temporary: Option<TempDir>,
}

impl Kept {
    /// Uses `folder`, and makes it if it does not exist. Only this user has access to a new folder.
    pub(super) fn at(folder: &Path) -> Result<Self, PluginError> {
        use std::os::unix::fs::DirBuilderExt;
        let unusable = |error: io::Error| {
            PluginError::Runtime(format!(
                "the cache folder {} can't be used: {error}; set plugins.cache to a folder that belongs to the service",
                folder.display()
            ))
        };
        let folder = std::path::absolute(folder).map_err(unusable)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(unusable)?;
        Ok(Self {
            folder,
            _temporary: None,
        })
    }

    /// Uses a private folder that is removed at the end.
    pub(super) fn temporary() -> Result<Self, PluginError> {
        let folder = tempfile::Builder::new()
            .prefix("anomalyzer-compiled-")
            .tempdir()
            .map_err(|error| {
                PluginError::Runtime(format!("no temporary folder for compiled plugins: {error}"))
            })?;
        Ok(Self {
            folder: folder.path().to_owned(),
            _temporary: Some(folder),
        })
    }

    /// Returns the runtime's cache in the folder.
    pub(super) fn cache(&self) -> Result<Cache, PluginError> {
        cache_in(&self.code()).map_err(PluginError::Runtime)
    }

    /// Returns true if the component of that digest is in the cache, compiled with the settings of
    /// `engine`.
    pub(super) fn has(&self, engine: &wasmtime::Engine, digest: &str) -> bool {
        let name = fs::read_to_string(self.of(engine, "known").join(digest));
        name.is_ok_and(|name| !name.is_empty() && self.code().join(MODULES).join(name).is_file())
    }

    /// Makes a work folder for one child.
    pub(super) fn desk(&self) -> Result<TempDir, String> {
        tempfile::Builder::new()
            .prefix(".desk-")
            .tempdir_in(&self.folder)
            .map_err(|error| self.full(&error))
    }

    /// Moves the output of a child from its work folder to the cache, and notes its digest.
    pub(super) fn take_over(
        &self,
        engine: &wasmtime::Engine,
        digest: &str,
        desk: &Path,
    ) -> Result<(), String> {
        let made = desk.join(MODULES);
        let found = only_file(&made).map_err(|error| self.full(&error))?;
        let Some(name) = found else {
            return Err("the compiler left nothing in its folder".to_owned());
        };
        let place = self.code().join(MODULES).join(&name);
        let kept = (|| {
            fs::create_dir_all(place.parent().unwrap_or(&place))?;
            fs::rename(made.join(&name), &place)?;
            self.note(engine, "known", digest, &name.to_string_lossy())
        })();
        kept.map_err(|error| self.full(&error))
    }

    /// Returns the reason why the component was refused, if that was for these limits or higher
    /// ones.
    pub(super) fn refused(
        &self,
        engine: &wasmtime::Engine,
        digest: &str,
        limits: &Limits,
    ) -> Option<String> {
        let noted = fs::read_to_string(self.of(engine, "refused").join(digest)).ok()?;
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
        if let Err(error) = self.note(
            engine,
            "refused",
            digest,
            &format!("{cpu}\n{memory}\n{why}"),
        ) {
            tracing::warn!(plugin.digest = digest, "{}", self.full(&error));
        }
    }

    fn note(
        &self,
        engine: &wasmtime::Engine,
        what: &str,
        digest: &str,
        text: &str,
    ) -> io::Result<()> {
        let folder = self.of(engine, what);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(digest), text)
    }

    fn code(&self) -> PathBuf {
        self.folder.join("code")
    }

    fn of(&self, engine: &wasmtime::Engine, what: &str) -> PathBuf {
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

/// Opens the runtime's cache in a folder.
pub(super) fn cache_in(folder: &Path) -> Result<Cache, String> {
    let mut config = CacheConfig::new();
    config.with_directory(folder);
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
