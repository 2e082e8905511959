//! Loads the detectors that a command names, in the way of the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::QualityError;
use anomalyzer_domain::PluginKind;
use anomalyzer_plugin_host::{DetectorInstance, Limits, PluginConfig, PluginInfo, Plugins};

/// Deadline of one frame. It is long, because nobody waits for a verdict here, and detectors in
/// slow languages are measured as well.
const DEADLINE: Duration = Duration::from_secs(60);

/// Detectors that open with their settings.
pub struct Detectors {
    plugins: Plugins,
    settings: Value,
    infos: Vec<PluginInfo>,
}

impl Detectors {
    /// Finds detectors by their names in the plugin folder, or by the paths of their files. Loads
    /// all detectors of the folder if `wanted` is empty. Takes seconds for components that were
    /// never compiled before, so it must not run on an async thread.
    ///
    /// # Errors
    /// Returns an error if there is no such detector, if the host would not load it, or if it
    /// refuses the settings.
    pub fn load(
        wanted: &[String],
        config: PluginConfig,
        settings: Value,
    ) -> Result<Self, QualityError> {
        let folder = &*config.folder.clone();
        let mut files = Vec::new();
        for name in wanted {
            match place(name, folder) {
                file if file.is_file() => files.push(file),
                file if is_path(name) => {
                    return Err(QualityError::unreadable(&file, "there is no such file"));
                }
                // The name of a plugin may differ from that of its file.
                _ => files.extend(all(folder)?),
            }
        }
        if wanted.is_empty() {
            files = all(folder)?;
        }
        files.sort_unstable();
        files.dedup();
        let plugins = plugins(&files, config)?;
        let infos = plugins.list();
        let infos = match wanted {
            [] => sorted(
                infos
                    .into_iter()
                    .filter(|info| info.error.is_none() && is_detector(info)),
            ),
            _ => wanted
                .iter()
                .map(|name| find(name, &files, folder, &infos))
                .collect::<Result<Vec<_>, _>>()?,
        };
        if infos.is_empty() {
            let folder = folder.display();
            let remedy = "name one with --detector, or build those that come with it with `cargo xtask plugins`";
            return Err(QualityError::Wrong(format!(
                "there is no detector in {folder}: {remedy}"
            )));
        }
        let detectors = Self {
            plugins,
            settings,
            infos,
        };
        detectors
            .all()
            .iter()
            .try_for_each(|info| detectors.open(info).map(drop))?;
        Ok(detectors)
    }

    /// Returns the information about each detector, in the order of the request.
    pub fn all(&self) -> &[PluginInfo] {
        &self.infos
    }

    /// Opens a fresh instance.
    ///
    /// # Errors
    /// Returns an error if the detector cannot be opened.
    pub fn open(&self, info: &PluginInfo) -> Result<DetectorInstance, QualityError> {
        let opened = self.plugins.monitor(&info.name, &self.settings);
        opened.map_err(|error| {
            QualityError::plugin(format!("detector `{}` does not open", info.name), error)
        })
    }
}

fn is_detector(info: &PluginInfo) -> bool {
    info.kind == Some(PluginKind::Detector)
}

fn sorted(infos: impl Iterator<Item = PluginInfo>) -> Vec<PluginInfo> {
    let mut infos: Vec<_> = infos.collect();
    infos.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    infos
}

fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".wasm")
}

fn place(name: &str, folder: &Path) -> PathBuf {
    if is_path(name) {
        PathBuf::from(name)
    } else {
        folder.join(format!("{name}.wasm"))
    }
}

/// Returns all components of the folder.
fn all(folder: &Path) -> Result<Vec<PathBuf>, QualityError> {
    let remedy = "name the plugin folder with --plugins";
    let unreadable = |error| QualityError::unreadable(folder, &format!("{error}; {remedy}"));
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>();
    let files = files.map_err(unreadable)?;
    Ok(files
        .into_iter()
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect())
}

/// Loads only the given files, each under its number. Other installed plugins have no influence and
/// cost no time.
fn plugins(files: &[PathBuf], config: PluginConfig) -> Result<Plugins, QualityError> {
    let config = PluginConfig {
        limits: Limits {
            call_deadline: DEADLINE,
            threads: 1,
            ..config.limits
        },
        ..config
    };
    let staged = files
        .iter()
        .enumerate()
        .map(|(number, file)| (number.to_string(), file.as_path()));
    Plugins::of_files(staged, config)
        .map_err(|error| QualityError::plugin("the plugin host does not start", error))
}

fn staged(number: usize) -> String {
    format!("{number}.wasm")
}

fn find(
    name: &str,
    files: &[PathBuf],
    folder: &Path,
    infos: &[PluginInfo],
) -> Result<PluginInfo, QualityError> {
    let file = files
        .iter()
        .position(|file| *file == place(name, folder))
        .map(staged);
    let of_file = infos.iter().find(|info| Some(&info.file) == file.as_ref());
    let found = of_file.or_else(|| infos.iter().find(|info| info.name == name));
    let Some(found) = found else {
        let names: Vec<&str> = infos
            .iter()
            .filter(|info| is_detector(info))
            .map(|info| info.name.as_str())
            .collect();
        let (folder, names) = (folder.display(), names.join(", "));
        return Err(QualityError::Wrong(format!(
            "there is no detector `{name}` in {folder}; there are: {names}"
        )));
    };
    match &found.error {
        Some(error) => Err(QualityError::Wrong(format!("detector `{name}`: {error}"))),
        None if !is_detector(found) => Err(QualityError::Wrong(format!("`{name}` is no detector"))),
        None => Ok(found.clone()),
    }
}
