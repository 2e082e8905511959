//! Files of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::source::SourceFile;

/// Folders that hold build results or other people's code.
const SKIPPED: [&str; 3] = ["target", "node_modules", "venv"];

/// A folder that holds a workspace.
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the text of a file.
    ///
    /// # Errors
    /// Returns an error if the file is missing or is not UTF-8.
    pub fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.root.join(path)).with_context(|| format!("{path} can't be read"))
    }

    pub fn contains(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Returns the names of the folders in `folder`, sorted.
    ///
    /// # Errors
    /// Returns an error if `folder` is missing or holds no folder: a check of nothing would pass.
    pub fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.root.join(folder);
        let entries =
            fs::read_dir(&path).with_context(|| format!("the folder {folder}/ is missing"))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        ensure!(!names.is_empty(), "the folder {folder}/ holds no folders");
        Ok(names)
    }

    /// Returns the Rust files below `folders`, sorted by path.
    ///
    /// # Errors
    /// Returns an error if a folder is missing or holds no Rust file: a check of nothing would
    /// pass.
    pub fn sources(&self, folders: &[&str]) -> Result<Vec<SourceFile>> {
        let mut files = Vec::new();
        for folder in folders {
            let path = self.root.join(folder);
            ensure!(path.is_dir(), "the folder {folder}/ is missing");
            let before = files.len();
            self.collect(&path, &mut files)?;
            ensure!(
                files.len() > before,
                "the folder {folder}/ holds no Rust file"
            );
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Returns the Rust files of the whole tree, sorted by path.
    ///
    /// # Errors
    /// Returns an error if a file can't be read.
    pub fn all_sources(&self) -> Result<Vec<SourceFile>> {
        let mut files = Vec::new();
        self.collect(&self.root, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    fn collect(&self, folder: &Path, files: &mut Vec<SourceFile>) -> Result<()> {
        let entries =
            fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            // Symbolic links are neither: following them could lead out of the tree or in circles.
            let kind = entry.file_type()?;
            if kind.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&&*name) {
                self.collect(&path, files)?;
            } else if kind.is_file() && name.ends_with(".rs") {
                let relative = path.strip_prefix(&self.root).unwrap_or(&path);
                let relative = relative.to_string_lossy().into_owned();
                let text = self.read(&relative)?;
                files.push(SourceFile::new(relative, text));
            }
        }
        Ok(())
    }
}

/// A workspace in a temporary folder, for tests of the checks.
#[cfg(test)]
pub mod fixture {
    use std::fs;

    use tempfile::TempDir;

    use super::Tree;

    pub struct Fixture {
        folder: TempDir,
    }

    impl Fixture {
        /// Writes files, each given as path and text.
        pub fn new(files: &[(&str, &str)]) -> Self {
            let fixture = Self {
                folder: tempfile::tempdir().unwrap(),
            };
            for (path, text) in files {
                fixture.write(path, text);
            }
            fixture
        }

        /// Writes a file, over one that is there.
        pub fn write(&self, path: &str, text: &str) {
            let path = self.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        pub fn tree(&self) -> Tree {
            Tree::new(self.folder.path())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::Fixture;

    #[test]
    fn build_results_and_hidden_folders_are_passed_over() {
        let fixture = Fixture::new(&[
            ("crates/a/src/lib.rs", ""),
            ("crates/a/target/built.rs", ""),
            ("crates/.cache/hidden.rs", ""),
            ("crates/a/node_modules/x.rs", ""),
        ]);
        let files = fixture.tree().sources(&["crates"]).unwrap();
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["crates/a/src/lib.rs"]);
    }

    #[test]
    fn a_missing_or_empty_folder_is_an_error() {
        let fixture = Fixture::new(&[("host/README.md", "")]);
        let error = fixture.tree().sources(&["crates"]).unwrap_err().to_string();
        assert_eq!(error, "the folder crates/ is missing");
        let error = fixture.tree().sources(&["host"]).unwrap_err().to_string();
        assert_eq!(error, "the folder host/ holds no Rust file");
        assert!(fixture.tree().folders("crates").is_err());
        assert!(fixture.tree().folders("host").is_err());
    }
}
