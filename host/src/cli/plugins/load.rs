//! Loads one plugin file in the way the host loads it.

use std::fs;
use std::path::{Path, PathBuf};

use super::PluginsError;
use anomalyzer_plugin_host::{PluginConfig, PluginInfo, Plugins};
use anomalyzer_service::config;

/// File together with the host's view of it.
pub(super) struct Loaded {
    pub(super) plugins: Plugins,
    /// Description of the plugin, with the error if the host would refuse it.
    pub(super) info: PluginInfo,
    pub(super) bytes: Vec<u8>,
}

/// Reads and loads the file by itself, without any other installed plugin. Stores compiled code in
/// the cache that `serve` uses.
pub(super) async fn load(file: &Path, compiler: Option<PathBuf>) -> Result<Loaded, PluginsError> {
    let file = file.to_owned();
    let loaded = tokio::task::spawn_blocking(move || alone(&file, compiler));
    loaded.await.unwrap_or_else(|error| {
        Err(PluginsError::Unusable(format!(
            "the host panicked over it: {error}; report it, with the file"
        )))
    })
}

fn alone(path: &Path, compiler: Option<PathBuf>) -> Result<Loaded, PluginsError> {
    let config = PluginConfig {
        cache: Some(config::cache_folder().join("compiled")),
        compiler,
        ..PluginConfig::default()
    };
    let unreadable = |reason: String| PluginsError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let size = fs::metadata(path)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    let most = config.limits.max_component_bytes;
    if size > most {
        let reason = format!(
            "it has {size} bytes, and a plugin has at most {most}: leave out what it does not need"
        );
        return Err(unreadable(reason));
    }
    let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let name = path.file_stem().map_or_else(
        || "plugin".into(),
        |stem| stem.to_string_lossy().into_owned(),
    );
    let plugins = Plugins::of_files([(name, path)], config)?;
    let info = plugins.list().into_iter().next();
    let info = info.ok_or_else(|| unreadable("the host does not see it".to_owned()))?;
    Ok(Loaded {
        plugins,
        info,
        bytes,
    })
}
