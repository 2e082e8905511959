//! Records the versions of a plugin, their origins, and the plugin's grants.

use serde::{Deserialize, Serialize};

use super::examine::PluginKind;
use crate::act::grants::Allowance;
use crate::domain::UnixMs;
use crate::guard::Mode;

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
}

/// Quarantine of a plugin. The plugin as a whole is not opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Reason, in words.
    pub reason: String,
    /// Time when the quarantine began.
    pub since: UnixMs,
}

/// Record of a plugin, kept over restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// Name that the plugin declares. No two plugins have the same name.
    pub name: String,
    /// Kind of the plugin.
    pub kind: PluginKind,
    /// Digest of the live version. None means that its file was removed from the folder and that no
    /// other version is left.
    pub active: Option<String>,
    /// Stored versions, oldest first.
    pub versions: Vec<Version>,
    /// Mode, which limits the plugin's autonomy. The guard's mode counts if it is stricter.
    #[serde(default)]
    pub mode: Mode,
    /// Grants that were set at run time. None stands for the grants of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<Allowance>>,
    /// Quarantine after repeated faults, until someone lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
}

impl PluginRecord {
    pub(super) fn new(name: &str, kind: PluginKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            active: None,
            versions: Vec::new(),
            mode: Mode::default(),
            grants: None,
            quarantine: None,
        }
    }

    /// Returns the version whose digest is `digest`, or the only version whose digest begins with
    /// `digest`.
    pub fn version(&self, digest: &str) -> Option<&Version> {
        let mut found = self
            .versions
            .iter()
            .filter(|version| version.digest.starts_with(digest));
        found
            .next()
            .filter(|_| digest.len() >= 8 && found.next().is_none())
    }

    /// Returns the version before the live version, if there is one.
    pub fn previous(&self) -> Option<&Version> {
        let active = self.active.as_deref()?;
        let at = self
            .versions
            .iter()
            .position(|version| version.digest == active)?;
        self.versions[..at].last()
    }

    /// Adds a version as the newest one, and forgets the oldest versions beyond `keep`. Never
    /// forgets the live version.
    pub(super) fn add(&mut self, version: Version, keep: usize) {
        self.versions.retain(|known| known.digest != version.digest);
        self.versions.push(version);
        while self.versions.len() > keep.max(2) {
            let active = self.active.clone();
            let Some(oldest) = self
                .versions
                .iter()
                .position(|known| Some(&known.digest) != active.as_ref())
            else {
                return;
            };
            self.versions.remove(oldest);
        }
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn version(digest: &str) -> Version {
        Version {
            digest: digest.to_owned(),
            version: "0.1.0".to_owned(),
            size: 1,
            origin: Origin::Folder {
                file: "a.wasm".to_owned(),
            },
            at: 0,
            signed_by: None,
        }
    }

    #[test]
    fn the_live_version_is_never_forgotten_and_the_oldest_is_first() {
        let mut record = PluginRecord::new("a", PluginKind::Action);
        record.active = Some("aaaaaaaa".to_owned());
        for digest in ["aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"] {
            record.add(version(digest), 3);
        }
        let digests = |record: &PluginRecord| {
            record
                .versions
                .iter()
                .map(|v| v.digest.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(digests(&record), ["aaaaaaaa", "cccccccc", "dddddddd"]);
        record.add(version("cccccccc"), 3);
        assert_eq!(
            digests(&record),
            ["aaaaaaaa", "dddddddd", "cccccccc"],
            "one that comes again is the newest"
        );
    }

    #[test]
    fn a_digest_may_be_shortened_while_it_is_clear_which_is_meant() {
        let mut record = PluginRecord::new("a", PluginKind::Action);
        for digest in ["aaaaaaaa11", "aaaaaaaa22", "bbbbbbbb33"] {
            record.add(version(digest), 9);
        }
        assert!(record.version("aaaaaaaa").is_none(), "two begin so");
        assert!(record.version("bbb").is_none(), "too short");
        assert_eq!(record.version("bbbbbbbb").unwrap().digest, "bbbbbbbb33");
    }
}
