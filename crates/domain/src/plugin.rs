//! Plugins in the record: their kind, their versions and their changes.

use serde::{Deserialize, Serialize};

use super::UnixMs;

/// Kind of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PluginKind {
    /// The plugin watches samples.
    Detector,
    /// The plugin asks for operations.
    Action,
}

impl PluginKind {
    /// Returns the word for the kind.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Origin of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "door", rename_all = "snake_case")]
pub enum Origin {
    /// Someone who may write to the plugin folder put the version there.
    Folder {
        /// Name of the file.
        file: String,
    },
    /// Someone uploaded the version.
    Upload {
        /// Name of the token, or a note that there was none.
        by: String,
        /// Address of the sender.
        address: String,
    },
}

impl Origin {
    /// Returns the name to put into the record.
    pub fn by(&self) -> String {
        match self {
            Self::Folder { file } => format!("folder: {file}"),
            Self::Upload { by, .. } => by.clone(),
        }
    }
}

/// Authority that made a version live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "door", rename_all = "snake_case")]
pub enum Approver {
    /// Someone who may write to the plugin folder.
    Folder {
        /// Name of the file.
        file: String,
    },
    /// An admin.
    Admin {
        /// Name of the token, or a note that there was none.
        by: String,
    },
    /// An earlier release of this program, which did not record who made a version live.
    EarlierRelease,
}

impl Approver {
    /// Returns the authority behind a version that goes live as it arrives. Only an admin may
    /// upload such a version.
    pub fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Folder { file } => Self::Folder { file: file.clone() },
            Origin::Upload { by, .. } => Self::Admin { by: by.clone() },
        }
    }
}

/// One version of a plugin, identified by the SHA-256 of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// SHA-256 of the bytes, in hex.
    pub digest: String,
    /// Semantic version that the plugin declares.
    pub version: String,
    /// Size in bytes.
    pub size: u64,
    /// Origin of the version.
    pub origin: Origin,
    /// Time when the version was added.
    pub at: UnixMs,
    /// Name of the trusted key that signed the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Authority that made the version live. None stands for a candidate, which nobody approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<Approver>,
}

/// Change to a plugin, for the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginChange {
    /// Name of the plugin, or of the file if it never was a plugin.
    pub plugin: String,
    /// Time of the change.
    pub at: UnixMs,
    /// Kind of the change.
    pub kind: PluginChangeKind,
    /// Name of the person or part that made the change.
    pub by: String,
    /// SHA-256 of the bytes that the change is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Further details: the origin, the grants, the mode or the reason.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

/// Kind of a change to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PluginChangeKind {
    /// A version was added and is live.
    Installed,
    /// A version was added and waits for an admin to make it live.
    Stored,
    /// Another stored version went live.
    Reverted,
    /// A file or an upload was refused.
    Refused,
    /// A plugin was removed.
    Removed,
    /// The grants of a plugin were set.
    Granted,
    /// The mode of a plugin was set.
    ModeSet,
    /// A plugin faulted too often.
    Quarantined,
    /// Someone lifted the quarantine of a plugin.
    Lifted,
}

impl PluginChangeKind {
    /// Returns the name in the history.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::{PluginChangeKind, PluginKind};
    use crate::testing::assert_names;

    #[test]
    fn the_names_are_those_of_the_history() {
        assert_names::<PluginKind>(&["detector", "action"]);
        assert_names::<PluginChangeKind>(&[
            "installed",
            "stored",
            "reverted",
            "refused",
            "removed",
            "granted",
            "mode_set",
            "quarantined",
            "lifted",
        ]);
    }
}
