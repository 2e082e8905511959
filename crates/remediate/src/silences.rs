//! Silences: during a silence, its targets get no automatic operation and cause no notice. Silences
//! are stored in a file, so that they outlast restarts.

use std::path::Path;

use serde::{Deserialize, Serialize};

use anomalyzer_common::json_store::{JsonStore, JsonStoreError};
use anomalyzer_common::set_aside::SetAside;
use anomalyzer_domain::{Target, UnixMs, as_rfc3339, derive};
use anomalyzer_policy::Selector;

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "silences.json";
/// Distance into the future that the start of a silence in force may have, in milliseconds. A later
/// start was recorded while the clock was ahead.
const MAX_AHEAD_MS: i64 = 300_000;
/// Maximum number of silences at a time.
const MAX_SILENCES: usize = 1_000;

/// Period without automatic operations on some targets and without notices about them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Identifier, by which the silence is ended.
    pub id: String,
    /// Selector of the targets.
    pub targets: Selector,
    /// Reason, for people who find the silence.
    pub why: String,
    /// Name of the person who asked for it.
    pub by: String,
    /// Start.
    #[serde(with = "as_rfc3339")]
    pub since: UnixMs,
    /// End, exclusive.
    #[serde(with = "as_rfc3339")]
    pub until: UnixMs,
}

impl Silence {
    /// Returns true if the silence is in force at `now`. A silence that was made while the clock
    /// was ahead is not: it would hold until that time comes.
    fn is_in_force(&self, now: UnixMs) -> bool {
        now < self.until && self.since <= now.saturating_add(MAX_AHEAD_MS)
    }
}

/// Reason why a silence was not added or not ended.
#[derive(Debug, thiserror::Error)]
pub enum SilenceError {
    /// The maximum number is reached.
    #[error(
        "there are {MAX_SILENCES} silences already: end some, or make one with a wider selector"
    )]
    TooMany,
    /// No silence has this identifier.
    #[error("there is no silence `{0}`")]
    NotFound(String),
    /// The file can't be read or written.
    #[error(transparent)]
    File(#[from] JsonStoreError),
}

/// All silences of a server. Clones share them.
#[derive(Clone, Debug)]
pub struct Silences(JsonStore<Silence>);

impl Silences {
    /// Opens the silences of the server with this data folder. A damaged file is moved aside.
    ///
    /// # Errors
    /// A damaged file cannot be moved aside.
    pub fn open(data_dir: &Path) -> Result<Self, SilenceError> {
        Ok(Self(JsonStore::open(
            data_dir.join(FILE_NAME),
            "nothing is silenced any more",
        )?))
    }

    /// Returns the damaged file that was moved aside at the start. The targets that it silenced are
    /// unknown.
    pub fn set_aside(&self) -> Option<&SetAside> {
        self.0.set_aside()
    }

    /// Returns the silences that are not over at `now`, also those from a clock that was ahead.
    pub fn all(&self, now: UnixMs) -> Vec<Silence> {
        self.0.with(|known| {
            known
                .iter()
                .filter(|silence| now < silence.until)
                .cloned()
                .collect()
        })
    }

    /// Returns a silence in force at `now` that covers the target.
    pub fn of(&self, target: &Target, now: UnixMs) -> Option<Silence> {
        self.0.with(|known| {
            known
                .iter()
                .find(|silence| silence.is_in_force(now) && silence.targets.matches(target))
                .cloned()
        })
    }

    /// Adds a silence. The change is durable when this returns.
    ///
    /// # Errors
    /// There are too many silences, or the file can't be written.
    pub async fn add(
        &self,
        targets: Selector,
        why: String,
        by: String,
        since: UnixMs,
        until: UnixMs,
    ) -> Result<Silence, SilenceError> {
        self.0
            .change(|known| {
                known.retain(|silence| since < silence.until);
                if known.len() >= MAX_SILENCES {
                    return Err(SilenceError::TooMany);
                }
                let nonce = known.len().to_string();
                let id = format!(
                    "sil-{}",
                    derive(&[&by, &why, &since.to_string(), &until.to_string(), &nonce])
                );
                let silence = Silence {
                    id,
                    targets,
                    why,
                    by,
                    since,
                    until,
                };
                known.push(silence.clone());
                Ok(silence)
            })
            .await
    }

    /// Ends a silence before its time. The change is durable when this returns.
    ///
    /// # Errors
    /// No silence has this id, or the file can't be written.
    pub async fn end(&self, id: &str, now: UnixMs) -> Result<Silence, SilenceError> {
        self.0
            .change(|known| {
                known.retain(|silence| now < silence.until);
                let index = known.iter().position(|silence| silence.id == id);
                index
                    .map(|index| known.remove(index))
                    .ok_or_else(|| SilenceError::NotFound(id.to_owned()))
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> Selector {
        Selector {
            namespace: Some("shop".into()),
            ..Selector::default()
        }
    }

    #[tokio::test]
    async fn a_silence_holds_for_its_targets_and_its_time_also_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let silences = Silences::open(folder.path()).unwrap();
        let silence = silences
            .add(shop(), "a test".into(), "anna".into(), 1_000, 2_000)
            .await
            .unwrap();
        let web = Target::new("shop", "Deployment", "web");
        let again = Silences::open(folder.path()).unwrap();
        for silences in [&silences, &again] {
            assert_eq!(silences.of(&web, 1_999), Some(silence.clone()));
            assert_eq!(silences.of(&web, 2_000), None);
            assert_eq!(
                silences.of(&Target::new("pay", "Deployment", "web"), 1_500),
                None
            );
        }
        assert!(matches!(
            again.end("sil-none", 1_500).await,
            Err(SilenceError::NotFound(_))
        ));
        assert_eq!(again.end(&silence.id, 1_500).await.unwrap(), silence);
        assert_eq!(again.all(1_500), []);
        assert_eq!(Silences::open(folder.path()).unwrap().all(1_500), []);
    }

    #[tokio::test]
    async fn what_is_over_makes_room_and_the_same_twice_is_two() {
        let folder = tempfile::tempdir().unwrap();
        let silences = Silences::open(folder.path()).unwrap();
        let add = |since| silences.add(shop(), "why".into(), "anna".into(), since, since + 1_000);
        let (first, second) = (add(0).await.unwrap(), add(0).await.unwrap());
        assert_ne!(first.id, second.id);
        add(5_000).await.unwrap();
        assert_eq!(silences.all(5_000).len(), 1);
    }

    #[tokio::test]
    async fn a_silence_from_a_clock_that_was_ahead_holds_nothing_and_is_listed() {
        const YEAR: UnixMs = 365 * 24 * 3_600_000;
        let folder = tempfile::tempdir().unwrap();
        let silences = Silences::open(folder.path()).unwrap();
        let ahead = 10 * YEAR;
        let silence = silences
            .add(shop(), "why".into(), "anna".into(), ahead, ahead + 60_000)
            .await
            .unwrap();
        let web = Target::new("shop", "Deployment", "web");
        assert_eq!(silences.of(&web, 1_000), None);
        assert_eq!(silences.all(1_000), [silence]);
        assert!(silences.of(&web, ahead + 1).is_some());
        assert!(
            silences.of(&web, ahead - 60_000).is_some(),
            "a clock set right"
        );
    }

    #[test]
    fn a_file_that_can_not_be_read_is_moved_aside_and_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), "[{").unwrap();
        let silences = Silences::open(folder.path()).unwrap();
        let aside = silences.set_aside().unwrap().to_string();
        assert!(
            aside.contains(FILE_NAME) && aside.contains("nothing is silenced any more"),
            "{aside}"
        );
    }
}
