//! Known facts about a plugin: its description of itself, and facts about its file.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::component::Surface;
use super::text::one_line;
use anomalyzer_domain::PluginKind;

/// Operation that a plugin declares to need, with its scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Name of the operation: `scale`, `patch`, …
    pub operation: String,
    /// Scope of the operation: `Deployment`, `Deployment/spec/template/spec`,
    /// `hooks.example.com:443`, …
    pub scope: String,
}

/// Known facts about a plugin's bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// Name that the plugin declares, or the name of the file without `.wasm` if the inspection
    /// failed before that.
    pub name: String,
    /// Semantic version; empty if the inspection failed before that.
    pub version: String,
    /// SHA-256 of the bytes, in hex; empty if they can't be read.
    pub digest: String,
    /// Size in bytes; 0 if the file can't be read.
    pub size: u64,
    /// Kind of the plugin, if it is known.
    pub kind: Option<PluginKind>,
    /// Summary for a person, in one line.
    pub summary: String,
    /// JSON Schema of its settings or parameters.
    pub settings: Value,
    /// Operations that the plugin needs. Detectors need none.
    pub needs: Vec<Need>,
    /// History that a detector wants to see before its findings count, in milliseconds.
    pub history_ms: u64,
    /// True if a detector's state can be saved and restored.
    pub stateful: bool,
    /// Name of the file in the plugin folder; empty for an upload.
    pub file: String,
    /// Reason why the plugin can't be used.
    pub error: Option<String>,
    /// Imports and exports of the file; None if they can't be read.
    #[serde(skip)]
    pub surface: Option<Surface>,
}

/// Returns the known facts about a file before it is opened.
pub(super) fn blank(path: &Path) -> PluginInfo {
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map(|part| one_line(&part.to_string_lossy(), 255))
            .unwrap_or_default()
    };
    PluginInfo {
        name: text(path.file_stem()),
        version: String::new(),
        digest: String::new(),
        size: 0,
        kind: None,
        summary: String::new(),
        settings: Value::Null,
        needs: Vec::new(),
        history_ms: 0,
        stateful: false,
        file: text(path.file_name()),
        error: None,
        surface: None,
    }
}

/// Returns the SHA-256, in hex.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Description of a plugin by the child process that examined it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Description {
    info: PluginInfo,
    surface: Option<Surface>,
}

impl Description {
    pub(super) fn of(info: &PluginInfo) -> Self {
        Self {
            info: info.clone(),
            surface: info.surface.clone(),
        }
    }

    /// Copies the description to `info`, apart from the facts that do not come from the plugin.
    pub(super) fn describe(self, info: &mut PluginInfo) -> Result<(), String> {
        let named = info.name == self.info.name;
        if !named && !is_name(&self.info.name) {
            return Err("its description in the cache has no valid name".to_owned());
        }
        *info = PluginInfo {
            digest: std::mem::take(&mut info.digest),
            size: info.size,
            file: std::mem::take(&mut info.file),
            error: None,
            surface: self.surface,
            ..self.info
        };
        Ok(())
    }
}

/// Returns true if a plugin may have this name. A name is part of file names, paths and commands,
/// so that it must not look like an option.
pub(super) fn is_name(name: &str) -> bool {
    let proper = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(proper)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_option_and_no_path() {
        for good in ["a", "zscore", "scale-up", "9lives", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "-",
            "--",
            "--help",
            "-rf",
            "a-",
            "A",
            "a_b",
            "a/b",
            "..",
            "a b",
            "a\n",
            "ä",
            "a\u{202e}b",
            &"a".repeat(64),
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
