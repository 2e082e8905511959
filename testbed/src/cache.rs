//! The user's cache folder. Each version of a program is built into it once per machine.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// Maximum time that a builder waits for another builder of the same artefact.
const LOCK_WITHIN: Duration = Duration::from_secs(45 * 60);

/// Returns `$XDG_CACHE_HOME/anomalyzer`, or `~/.cache/anomalyzer`.
pub fn folder() -> Result<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("anomalyzer"))
        .ok_or_else(|| anyhow!("no cache folder: set HOME or XDG_CACHE_HOME to an absolute path"))
}

/// Returns the path of the artefact `name` (which contains its version), if the artefact is built.
pub fn find(name: &str) -> Option<PathBuf> {
    folder()
        .ok()
        .map(|folder| folder.join(name))
        .filter(|path| path.is_dir())
}

/// Returns the folder of the artefact `name`. Calls `build` if the folder is missing.
///
/// `build` fills an empty folder, which then takes its final name in one step: a folder under the
/// final name is complete. Two processes that want the same artefact take turns by a file lock, and
/// the second finds the artefact complete.
pub async fn built<F>(name: &str, build: impl FnOnce(PathBuf) -> F) -> Result<PathBuf>
where
    F: Future<Output = Result<()>>,
{
    let folder = folder()?;
    let finished = folder.join(name);
    if finished.is_dir() {
        return Ok(finished);
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create the cache folder {}", folder.display()))?;
    let _lock = locked(&folder.join(format!("{name}.lock")), name).await?;
    if finished.is_dir() {
        return Ok(finished);
    }
    let unfinished = tempfile::Builder::new()
        .prefix(&format!("{name}.unfinished-"))
        .tempdir_in(&folder)
        .with_context(|| format!("cannot write to the cache folder {}", folder.display()))?;
    build(unfinished.path().to_owned()).await?;
    std::fs::rename(unfinished.path(), &finished)
        .with_context(|| format!("cannot move what was built to {}", finished.display()))?;
    // The folder has a new name, so the guard has nothing to remove.
    let _moved = unfinished.keep();
    Ok(finished)
}

/// Locks the file at `path`. The lock lasts as long as the returned file stays open.
async fn locked(path: &Path, name: &str) -> Result<File> {
    let file =
        File::create(path).with_context(|| format!("cannot create the lock {}", path.display()))?;
    let deadline = Instant::now() + LOCK_WITHIN;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {}
            Err(TryLockError::WouldBlock) => {
                bail!("{name} is still being built by another process after {LOCK_WITHIN:?}")
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        if !told {
            tracing::info!("waiting for another process that builds {name}");
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
