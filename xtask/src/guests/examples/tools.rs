//! Tools that make components of other languages. Each version is installed once into the user's
//! cache folder.

use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Language;
use crate::{process, workspace};

/// Maximum time to wait for another process that installs the same tools.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Name of a file that is written last, so that its presence proves a complete installation.
const COMPLETE: &str = "complete";

/// Returns the folder of a language's tools, after an installation if they are missing.
pub fn installed(language: Language) -> Result<PathBuf> {
    let versions = language
        .programs()
        .iter()
        .map(|program| version(program))
        .collect::<Result<Vec<_>>>()?;
    let folder = cache_folder()?.join(format!("{}-{}", language.tool(), key(language, &versions)?));
    if folder.join(COMPLETE).exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&folder)
        .with_context(|| format!("{} can't be created", folder.display()))?;
    let _locked = locked(&folder.with_extension("lock"), language)?;
    if !folder.join(COMPLETE).exists() {
        println!(
            "examples: installing {} with {}, once",
            language.tool(),
            versions.join(", ")
        );
        install(language, &folder)
            .with_context(|| format!("{} can't be installed", language.tool()))?;
    }
    Ok(folder)
}

fn version(program: &str) -> Result<String> {
    let output = process::output(Command::new(program).arg("--version"));
    Ok(format!(
        "{program} {}",
        output.with_context(|| format!("{program} is missing"))?
    ))
}

/// Installs the tools in their final folder. A Python environment contains its own path, so it
/// can't be moved.
fn install(language: Language, folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder)?;
    fs::create_dir(folder)?;
    for name in language.pinned() {
        let pinned = workspace::root().join(language.folder()).join(name);
        fs::copy(&pinned, folder.join(name))
            .with_context(|| format!("{} can't be copied", pinned.display()))?;
    }
    language.install(folder)?;
    Ok(fs::write(folder.join(COMPLETE), "")?)
}

/// Returns the name of an installation. It changes with the pinned versions, and with the version
/// of the interpreter that an environment is bound to.
fn key(language: Language, versions: &[String]) -> Result<String> {
    let mut hash = DefaultHasher::new();
    versions.hash(&mut hash);
    for name in language.pinned() {
        let pinned = workspace::root().join(language.folder()).join(name);
        fs::read(&pinned)
            .with_context(|| format!("{} can't be read", pinned.display()))?
            .hash(&mut hash);
    }
    Ok(format!("{:016x}", hash.finish()))
}

/// Locks the file at `path`. The lock lasts as long as the returned file stays open.
fn locked(path: &Path, language: Language) -> Result<File> {
    let file =
        File::create(path).with_context(|| format!("{} can't be created", path.display()))?;
    let begun = Instant::now();
    let mut is_reported = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock)
                if begun.elapsed() > LOCK_TIMEOUT || process::is_interrupted() =>
            {
                bail!(
                    "another process still installs {}, see {}",
                    language.tool(),
                    path.display()
                )
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} can't be locked", path.display()));
            }
        }
        if !is_reported {
            println!(
                "examples: waiting for another process that installs {}",
                language.tool()
            );
            is_reported = true;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Returns the user's cache folder for Anomalyzer. The host and the testbed use the same folder.
fn cache_folder() -> Result<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("anomalyzer"))
        .context("there is no cache folder: set HOME or XDG_CACHE_HOME to an absolute path")
}
