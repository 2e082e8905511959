//! What is remembered of a plugin: its versions, who brought them, and what it was granted.

use serde::{Deserialize, Serialize};

use crate::domain::{Allowance, Mode, PluginKind, UnixMs, Version};

/// Why a plugin as a whole is not opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// In words.
    pub reason: String,
    /// Since when.
    pub since: UnixMs,
}

/// A plugin as it is kept over restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// What it calls itself. No two plugins have the same.
    pub name: String,
    /// What it is.
    pub kind: PluginKind,
    /// The version that is live. None: its file was taken out of the folder, and no other version
    /// is left.
    pub active: Option<String>,
    /// Oldest first.
    pub versions: Vec<Version>,
    /// How far it may go by itself; the guard's mode counts where that is stricter.
    #[serde(default)]
    pub mode: Mode,
    /// What it is granted. None: what the configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<Allowance>>,
    /// Set after repeated faults, until somebody lifts it.
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

    /// The version with that digest, or the only one whose digest begins so.
    pub fn version(&self, digest: &str) -> Option<&Version> {
        let mut found = self
            .versions
            .iter()
            .filter(|version| version.digest.starts_with(digest));
        found
            .next()
            .filter(|_| digest.len() >= 8 && found.next().is_none())
    }

    /// The version before the one that is live, if there is one.
    pub fn previous(&self) -> Option<&Version> {
        let active = self.active.as_deref()?;
        let at = self
            .versions
            .iter()
            .position(|version| version.digest == active)?;
        self.versions[..at].last()
    }

    /// Adds a version as the newest one, and forgets the oldest beyond `keep`, never the one that
    /// is live.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Origin;

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
