//! Plugins in the record: their kind, their versions and what happened to them.

use serde::{Deserialize, Serialize};

use super::UnixMs;

/// What a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginKind {
    /// It looks at samples.
    Detector,
    /// It asks for operations.
    Action,
}

impl PluginKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Action => "action",
        }
    }
}

/// By which door a version came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "door", rename_all = "snake_case")]
pub enum Origin {
    /// Somebody who may write to the plugin folder put it there.
    Folder {
        /// Name of the file.
        file: String,
    },
    /// It was uploaded.
    Upload {
        /// Name of the token, or that there was none.
        by: String,
        /// Address of whoever sent it.
        address: String,
    },
}

impl Origin {
    /// Who is to be named in the record.
    pub fn by(&self) -> String {
        match self {
            Self::Folder { file } => format!("folder: {file}"),
            Self::Upload { by, .. } => by.clone(),
        }
    }
}

/// One version of a plugin, known by the SHA-256 of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// SHA-256, in hex.
    pub digest: String,
    /// Semantic version, as the plugin says.
    pub version: String,
    /// In bytes.
    pub size: u64,
    /// Where it came from.
    pub origin: Origin,
    /// When.
    pub at: UnixMs,
    /// Name of the trusted key that signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
}

/// What happened to a plugin, for the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginChange {
    /// Which plugin; for a file that never was one, the file.
    pub plugin: String,
    /// When.
    pub at: UnixMs,
    /// What.
    pub kind: PluginChangeKind,
    /// Who did it.
    pub by: String,
    /// SHA-256 of the bytes that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The rest: where from, the grants, the mode, the reason.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginChangeKind {
    /// A version was taken in and is live.
    Installed,
    /// A version was taken in and waits for an admin to make it live.
    Stored,
    /// Another version that was there already is live.
    Reverted,
    /// A file or an upload was no good.
    Refused,
    /// It is no longer there.
    Removed,
    /// What it is granted was set.
    Granted,
    /// Its mode was set.
    ModeSet,
    /// It faulted too often.
    Quarantined,
    /// Somebody let it out again.
    Lifted,
}

impl PluginChangeKind {
    /// The name in the history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Stored => "stored",
            Self::Reverted => "reverted",
            Self::Refused => "refused",
            Self::Removed => "removed",
            Self::Granted => "granted",
            Self::ModeSet => "mode_set",
            Self::Quarantined => "quarantined",
            Self::Lifted => "lifted",
        }
    }
}
