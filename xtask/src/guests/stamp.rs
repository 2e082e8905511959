//! Whether the components on disk are made of the sources as they are.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace;

/// Left behind by other tools among the sources.
const NO_SOURCES: &str = "__pycache__";

/// A hash of all that goes into the components, and the file that keeps the one they were built of.
pub struct Stamp {
    hash: String,
    file: PathBuf,
}

impl Stamp {
    /// Of the compiler, and of files and whole folders, named from the root of the workspace.
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

    /// Whether the components were built of exactly this.
    pub fn is_current(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|kept| kept == self.hash)
    }

    /// Until the next `keep`, nothing is up to date.
    pub fn forget(&self) -> Result<()> {
        if self.file.exists() {
            fs::remove_file(&self.file)?;
        }
        Ok(())
    }

    /// The components are of this.
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
