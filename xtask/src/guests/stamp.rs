//! Detects components that are older than their sources.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace;

/// Folder that Python leaves among the sources.
const NO_SOURCES: &str = "__pycache__";

/// Hash of all inputs of the components, and the file that keeps the hash of the last build.
pub struct Stamp {
    hash: String,
    file: PathBuf,
}

impl Stamp {
    /// Hashes the compiler's name, and the files and folders in `sources`, which are relative to
    /// the root of the workspace.
    pub fn now(file: PathBuf, compiler: &str, sources: &[impl AsRef<Path>]) -> Result<Self> {
        let root = workspace::root();
        let mut files = Vec::new();
        for source in sources {
            let source = root.join(source);
            if source.is_dir() {
                collect(&source, &mut files)?;
            } else {
                files.push(source);
            }
        }
        files.sort();
        let mut hash = DefaultHasher::new();
        compiler.hash(&mut hash);
        for file in &files {
            let bytes =
                fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
            file.strip_prefix(&root).unwrap_or(file).hash(&mut hash);
            bytes.hash(&mut hash);
        }
        Ok(Self {
            hash: format!("{:016x}", hash.finish()),
            file,
        })
    }

    /// Returns true if the components were built from exactly these inputs.
    pub fn is_current(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|kept| kept == self.hash)
    }

    /// Removes the kept hash: until the next [`Stamp::keep`], no component is up to date.
    pub fn forget(&self) -> Result<()> {
        if self.file.exists() {
            fs::remove_file(&self.file)?;
        }
        Ok(())
    }

    /// Records that the components were built from these inputs.
    pub fn keep(&self) -> Result<()> {
        Ok(fs::write(&self.file, &self.hash)?)
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))?
    {
        let entry = entry?;
        if entry.file_name() == NO_SOURCES {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
