//! How each signal's source is, for the API and `/health`.

use parking_lot::Mutex;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::domain::{Coverage, UnixMs, rfc3339};

use super::{SignalConfig, SourceError};

/// Why a source failed, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignalFailure {
    /// When it was asked.
    #[serde(serialize_with = "as_rfc3339")]
    pub at: UnixMs,
    /// One word, as `timed_out`.
    pub kind: &'static str,
    /// What, where, and the remedy.
    pub message: String,
}

/// How a signal's source is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SignalStatus {
    /// The signal.
    pub signal: String,
    /// `query`, `gauge`, `rate`, `ratio` or `quantile`.
    pub kind: &'static str,
    /// Whether a source failed when it was last asked.
    pub failing: bool,
    /// When all sources last answered, be it with nothing.
    #[serde(serialize_with = "as_rfc3339_or_null")]
    pub last_success: Option<UnixMs>,
    /// The last failure, also if it is over.
    pub last_failure: Option<SignalFailure>,
    /// The last round's coverage, added up over the targets.
    pub coverage: Coverage,
    /// Targets that it speaks for.
    pub targets: usize,
    /// Series that are open.
    pub series: usize,
    /// Samples published since the start.
    pub samples: u64,
    /// Batches that nobody took.
    pub dropped: u64,
    /// What is not as it should be though nothing failed: Prometheus's warnings, series without a
    /// target.
    pub notes: Vec<String>,
}

fn as_rfc3339<S: Serializer>(at: &UnixMs, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

fn as_rfc3339_or_null<S: Serializer>(
    at: &Option<UnixMs>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    at.map(rfc3339).serialize(serializer)
}

/// The status of all signals, in the order of the configuration. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct StatusBoard(Arc<Mutex<Vec<SignalStatus>>>);

impl StatusBoard {
    pub(super) fn new(signals: &[SignalConfig]) -> Self {
        let status = |signal: &SignalConfig| SignalStatus {
            signal: signal.name.clone(),
            kind: signal.source.kind(),
            ..SignalStatus::default()
        };
        Self(Arc::new(Mutex::new(signals.iter().map(status).collect())))
    }

    /// All of them.
    pub fn all(&self) -> Vec<SignalStatus> {
        self.0.lock().clone()
    }

    pub(super) fn update(&self, signal: &str, change: impl FnOnce(&mut SignalStatus)) {
        let mut all = self.0.lock();
        if let Some(status) = all.iter_mut().find(|status| status.signal == signal) {
            change(status);
        }
    }
}

impl SignalStatus {
    /// Notes how a round went, and says in the log when that has changed.
    pub(super) fn round(&mut self, at: UnixMs, failure: Option<SourceError>) {
        let signal = &self.signal;
        match failure {
            None => {
                if self.failing {
                    tracing::info!(signal, "the source answers again");
                }
                self.failing = false;
                self.last_success = Some(at);
            }
            Some(error) => {
                let same = self.failing
                    && self
                        .last_failure
                        .as_ref()
                        .is_some_and(|last| last.kind == error.kind());
                if !same {
                    tracing::warn!(signal, %error, "a source fails");
                }
                self.failing = true;
                self.last_failure = Some(SignalFailure {
                    at,
                    kind: error.kind(),
                    message: error.to_string(),
                });
            }
        }
    }
}
