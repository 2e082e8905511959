//! Records the versions of a plugin, their origins and approvers, and the plugin's grants.

use serde::{Deserialize, Serialize};

use anomalyzer_domain::{Allowance, Approver, Mode, Origin, PluginKind, UnixMs, Version};

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
    /// Digest of the live version. None means that the plugin has only candidates: versions that
    /// nobody made live.
    pub active: Option<String>,
    /// Stored versions, oldest first.
    pub versions: Vec<Version>,
    /// Digests of the versions that were live before the live version, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<String>,
    /// Mode, which limits the plugin's autonomy. The guard's mode counts if it is stricter.
    #[serde(default)]
    pub mode: Mode,
    /// Grants that were set at run time. None stands for the grants of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<Allowance>>,
    /// Quarantine after repeated faults, until someone lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// True if the approvers of the versions are recorded. Earlier releases did not record them.
    #[serde(default)]
    pub has_approvers: bool,
}

impl PluginRecord {
    /// Creates the record of a plugin without versions.
    pub fn new(name: &str, kind: PluginKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            active: None,
            versions: Vec::new(),
            past: Vec::new(),
            mode: Mode::default(),
            grants: None,
            quarantine: None,
            has_approvers: true,
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

    /// Returns the version that was live before the live version, if there is one.
    pub fn previous(&self) -> Option<&Version> {
        self.past
            .iter()
            .rev()
            .find_map(|digest| self.approved(digest))
    }

    /// Returns the live version.
    pub fn live(&self) -> Option<&Version> {
        self.exact(self.active.as_deref()?)
    }

    /// Returns the version with a digest.
    pub fn exact(&self, digest: &str) -> Option<&Version> {
        self.versions
            .iter()
            .find(|version| version.digest == digest)
    }

    /// Returns the version with a digest, if someone approved it.
    pub fn approved(&self, digest: &str) -> Option<&Version> {
        self.exact(digest)
            .filter(|version| version.approved_by.is_some())
    }

    /// Adds a version as the newest one. Forgets the oldest approved versions beyond `keep`, and
    /// never the live version.
    pub fn add(&mut self, version: Version, keep: usize) {
        self.versions.retain(|known| known.digest != version.digest);
        self.versions.push(version);
        loop {
            let approved = self.versions.iter().filter(|it| it.approved_by.is_some());
            let surplus = approved.clone().count() > keep.max(2);
            let oldest = approved
                .map(|version| &version.digest)
                .find(|digest| Some(*digest) != self.active.as_ref());
            match oldest.filter(|_| surplus).cloned() {
                Some(oldest) => self.forget(&oldest),
                None => return,
            }
        }
    }

    /// Forgets a version.
    pub fn forget(&mut self, digest: &str) {
        self.versions.retain(|version| version.digest != digest);
        self.past.retain(|known| known != digest);
    }

    /// Makes a version live in place of the live version, which becomes the previous one.
    pub fn go_live(&mut self, digest: &str, approver: &Approver) {
        self.approve(digest, approver);
        let before = self.active.replace(digest.to_owned());
        self.past.retain(|known| known != digest);
        self.past.extend(before.filter(|before| before != digest));
    }

    /// Makes the previous version live. The version before the previous one is now the previous
    /// one.
    pub fn go_back(&mut self, digest: &str) {
        if let Some(at) = self.past.iter().position(|known| known == digest) {
            self.past.truncate(at);
        }
        self.active = Some(digest.to_owned());
    }

    /// Records the approver of a version that was not live before.
    fn approve(&mut self, digest: &str, approver: &Approver) {
        for version in &mut self.versions {
            if version.digest == digest && version.approved_by.is_none() {
                version.approved_by = Some(approver.clone());
            }
        }
    }

    /// Records the signer of a version.
    pub fn sign(&mut self, digest: &str, signer: &str) {
        for version in &mut self.versions {
            if version.digest == digest {
                version.signed_by = Some(signer.to_owned());
            }
        }
    }

    /// Records the approvers that an earlier release did not record: the live version, versions of
    /// the folder, and the versions of `live_once` were live.
    pub fn upgrade(&mut self, live_once: &[String]) {
        let active = self.active.clone();
        for version in &mut self.versions {
            let was_live =
                Some(&version.digest) == active.as_ref() || live_once.contains(&version.digest);
            let approver = match &version.origin {
                Origin::Folder { .. } => Some(Approver::of(&version.origin)),
                Origin::Upload { .. } => was_live.then_some(Approver::EarlierRelease),
            };
            if version.approved_by.is_none() {
                version.approved_by = approver;
            }
        }
        let before_live = self
            .versions
            .iter()
            .take_while(|version| Some(&version.digest) != active.as_ref())
            .filter(|version| version.approved_by.is_some());
        self.past = before_live.map(|version| version.digest.clone()).collect();
        self.has_approvers = true;
    }

    /// Returns the candidates of an uploader, oldest first.
    pub fn candidates_of<'r>(&'r self, uploader: &'r str) -> impl Iterator<Item = &'r Version> {
        self.candidates().filter(
            move |version| matches!(&version.origin, Origin::Upload { by, .. } if by == uploader),
        )
    }

    /// Returns true if nobody approved any version. The plugin is then only a proposal of
    /// uploaders.
    pub fn is_proposal(&self) -> bool {
        self.versions.iter().all(|it| it.approved_by.is_none())
    }

    /// Returns the versions that nobody made live, oldest first.
    pub fn candidates(&self) -> impl Iterator<Item = &Version> {
        self.versions
            .iter()
            .filter(|version| version.approved_by.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder() -> Origin {
        Origin::Folder {
            file: "a.wasm".to_owned(),
        }
    }

    fn upload(by: &str) -> Origin {
        Origin::Upload {
            by: by.to_owned(),
            address: "127.0.0.1".to_owned(),
        }
    }

    fn version(digest: &str, origin: Origin, approved_by: Option<Approver>) -> Version {
        Version {
            digest: digest.to_owned(),
            version: "0.1.0".to_owned(),
            size: 1,
            origin,
            at: 0,
            signed_by: None,
            approved_by,
        }
    }

    fn approved(digest: &str) -> Version {
        version(digest, folder(), Some(Approver::of(&folder())))
    }

    fn candidate(digest: &str, by: &str) -> Version {
        version(digest, upload(by), None)
    }

    fn digests(record: &PluginRecord) -> Vec<&str> {
        record.versions.iter().map(|v| v.digest.as_str()).collect()
    }

    #[test]
    fn the_live_version_is_never_forgotten_and_the_oldest_is_first() {
        let mut record = PluginRecord::new("a", PluginKind::Action);
        record.active = Some("aaaaaaaa".to_owned());
        for digest in ["aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"] {
            record.add(approved(digest), 3);
        }
        assert_eq!(digests(&record), ["aaaaaaaa", "cccccccc", "dddddddd"]);
        record.add(approved("cccccccc"), 3);
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
            record.add(approved(digest), 9);
        }
        assert!(record.version("aaaaaaaa").is_none(), "two begin so");
        assert!(record.version("bbb").is_none(), "too short");
        assert_eq!(record.version("bbbbbbbb").unwrap().digest, "bbbbbbbb33");
    }

    #[test]
    fn going_back_walks_through_the_versions_that_were_live() {
        let admin = Approver::Admin {
            by: "ada".to_owned(),
        };
        let mut record = PluginRecord::new("a", PluginKind::Action);
        for digest in ["one", "two", "three"] {
            record.add(candidate(digest, "eve"), 9);
            record.go_live(digest, &admin);
        }
        record.add(candidate("other", "eve"), 9);
        for expected in ["two", "one"] {
            let previous = record.previous().unwrap().digest.clone();
            assert_eq!(previous, expected);
            record.go_back(&previous);
        }
        assert_eq!(record.previous(), None);
        record.go_live("three", &admin);
        assert_eq!(record.previous().unwrap().digest, "one");
        assert_eq!(record.live().unwrap().approved_by, Some(admin));
    }

    #[test]
    fn a_record_of_an_earlier_release_keeps_what_was_live_and_approves_nothing_else() {
        let mut record: PluginRecord = serde_json::from_value(serde_json::json!({
            "name": "drain", "kind": "action", "active": "third", "mode": "auto",
            "versions": [
                { "digest": "first", "version": "1.0.0", "size": 1, "at": 1,
                  "origin": { "door": "upload", "by": "ada", "address": "" } },
                { "digest": "second", "version": "6.6.6", "size": 1, "at": 2,
                  "origin": { "door": "upload", "by": "eve", "address": "" } },
                { "digest": "third", "version": "1.1.0", "size": 1, "at": 3,
                  "origin": { "door": "upload", "by": "ada", "address": "" } },
            ],
        }))
        .unwrap();
        assert!(!record.has_approvers);
        let mut without_history = record.clone();
        without_history.upgrade(&[]);
        assert_eq!(without_history.previous(), None);
        record.upgrade(&["first".to_owned(), "third".to_owned()]);
        assert_eq!(record.previous().unwrap().digest, "first");
        let approvers: Vec<_> = record.versions.iter().map(|v| &v.approved_by).collect();
        let earlier = Some(Approver::EarlierRelease);
        assert_eq!(approvers, [&earlier, &None, &earlier]);
    }

    proptest! {
        #[test]
        fn no_candidate_changes_what_was_live(
            live in prop::collection::vec(0_u8..5, 1..6),
            uploads in prop::collection::vec(0_u8..9, 0..40),
        ) {
            let admin = Approver::Admin { by: "ada".to_owned() };
            let mut record = PluginRecord::new("a", PluginKind::Action);
            for digest in live {
                let digest = digest.to_string();
                record.add(version(&digest, upload("ada"), Some(admin.clone())), 10);
                record.go_live(&digest, &admin);
            }
            let before = record.clone();
            for digest in uploads {
                let digest = digest.to_string();
                if record.exact(&digest).is_none() {
                    record.add(candidate(&digest, "eve"), 10);
                }
            }
            prop_assert_eq!(record.previous(), before.previous());
            prop_assert_eq!(record.live(), before.live());
            let known = &record.versions[..before.versions.len()];
            prop_assert_eq!(known, &before.versions[..]);
        }
    }
}
