//! Result of the last verification of the record, and the settings of verifications.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use anomalyzer_domain::{UnixMs, duration};

/// Settings of the verification while the service runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Time between two verifications. A large history is verified less often, so that it takes at
    /// most a hundredth of the time.
    #[serde(with = "duration")]
    pub verify_every: Duration,
    /// Response to a record that differs from its events.
    pub on_mismatch: OnMismatch,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            verify_every: Duration::from_secs(30),
            on_mismatch: OnMismatch::Stop,
        }
    }
}

/// Response to a record that differs from its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMismatch {
    /// Report it, and change nothing until the record is in order.
    Stop,
    /// Only report it.
    Report,
}

/// Result of the last verification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Time of its end, in milliseconds since 1970. None before the first one.
    pub at: Option<UnixMs>,
    /// Time that it took.
    #[serde(skip)]
    pub took: Duration,
    /// Number of events in all chains.
    pub events: i64,
    /// First difference of the record from its events, with the remedy.
    pub mismatch: Option<String>,
    /// Reason why the record could not be verified.
    pub error: Option<String>,
    /// True if nothing may be changed because of the mismatch.
    pub stops: bool,
    /// True if the record is verified periodically, so that the first verification will come.
    #[serde(skip)]
    pub(super) periodic: bool,
}

/// Last verification. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Integrity(Arc<watch::Sender<Verification>>);

impl Default for Integrity {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Verification::default())))
    }
}

impl Integrity {
    pub(super) fn last(&self) -> Verification {
        self.0.borrow().clone()
    }

    /// Returns true if the last verification found no difference.
    pub(super) fn is_verified(&self) -> bool {
        let last = self.0.borrow();
        last.at.is_some() && last.mismatch.is_none() && last.error.is_none()
    }

    pub(super) fn set(&self, mut verification: Verification) {
        verification.periodic = self.0.borrow().periodic;
        let before = self.0.send_replace(verification.clone());
        match (&before.mismatch, &verification.mismatch) {
            (before, Some(mismatch)) if before.as_ref() != Some(mismatch) => {
                tracing::error!(%mismatch, "the record differs from its events");
            }
            (Some(_), None) => tracing::info!("the record verifies again"),
            _ => {}
        }
    }

    /// Announces that the record is verified periodically.
    pub(super) fn expect(&self) {
        self.0.send_modify(|last| last.periodic = true);
    }

    /// Waits until the first verification ended.
    pub(super) async fn verified_once(&self) {
        let mut last = self.0.subscribe();
        // An error means that nobody verifies any more, which ends the wait too.
        let _ = last
            .wait_for(|last| last.at.is_some() || !last.periodic)
            .await;
    }
}
