//! Records the versions of a plugin, their origins, and the plugin's grants.

use serde::{Deserialize, Serialize};

use anomalyzer_domain::{Allowance, Mode, PluginKind, UnixMs, Version};

/// Quarantine of a plugin. The plugin as a whole is not opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Reason, in words.
    pub reason: String,
    /// Time when the quarantine began.
    pub since: UnixMs,
    /// Time when the quarantine lifts itself. None if a person must lift it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifts_at: Option<UnixMs>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::Origin;

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
