//! Finds components by their digest and loads them.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::ReplayError;
use super::options::PluginSource;
use anomalyzer_plugin_host::Plugins;

/// Maximum depth of nested folders.
const DEEPEST: usize = 4;

/// Returns the file with this SHA-256.
pub(super) fn find(digest: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().find_map(|folder| find_in(digest, folder, 0))
}

fn find_in(digest: &str, folder: &Path, depth: usize) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort_unstable();
    entries.into_iter().find_map(|path| {
        if path.is_dir() {
            return if depth < DEEPEST {
                find_in(digest, &path, depth + 1)
            } else {
                None
            };
        }
        let component = path
            .extension()
            .is_some_and(|extension| extension == "wasm");
        let is_it = component
            && fs::read(&path).is_ok_and(|bytes| hex::encode(Sha256::digest(&bytes)) == digest);
        is_it.then_some(path)
    })
}

/// Loads only the plugin of `file`, and returns it with its name.
pub(super) fn load(file: &Path, source: &PluginSource) -> Result<(Plugins, String), ReplayError> {
    let wrong = |why: String| ReplayError::Wrong(format!("{}: {why}", file.display()));
    let config = source.config.clone();
    let plugins = Plugins::of_files([("plugin".to_owned(), file)], config)
        .map_err(|error| wrong(error.to_string()))?;
    let Some(info) = plugins.list().into_iter().next() else {
        return Err(wrong("it is no plugin".to_owned()));
    };
    match info.error {
        Some(error) => Err(wrong(error)),
        None if !plugins.has_detector(&info.name) => Err(wrong("it is no detector".to_owned())),
        None => Ok((plugins, info.name)),
    }
}
