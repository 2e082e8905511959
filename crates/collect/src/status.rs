//! Status of each signal's source, for the API and `/health`.

use parking_lot::Mutex;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use anomalyzer_domain::{Coverage, UnixMs, rfc3339};

use super::{SignalConfig, SourceError};

/// Failure of a source: its reason and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignalFailure {
    /// Time of the request.
    #[serde(serialize_with = "as_rfc3339")]
    pub at: UnixMs,
    /// Kind of the error as one word, such as `timed_out`.
    pub kind: &'static str,
    /// The error, the place and the remedy.
    pub message: String,
}

/// Status of a signal's source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SignalStatus {
    /// The signal.
    pub signal: String,
    /// Kind of the source: `query`, `gauge`, `rate`, `ratio` or `quantile`.
    pub kind: &'static str,
    /// True if a source failed in the last round.
    pub failing: bool,
    /// Time when all sources last answered, even without any data.
    #[serde(serialize_with = "as_rfc3339_or_null")]
    pub last_success: Option<UnixMs>,
    /// The last failure, even if it is over.
    pub last_failure: Option<SignalFailure>,
    /// Coverage of the last round, summed over the targets.
    pub coverage: Coverage,
    /// Number of targets that the signal describes.
    pub targets: usize,
    /// Number of open series.
    pub series: usize,
    /// Number of samples published since the start.
    pub samples: u64,
    /// Number of dropped batches.
    pub dropped: u64,
    /// Number of dropped samples of sources that were older than the newest of their series.
    pub late: u64,
    /// Number of dropped samples of sources that were too far in the future.
    pub future: u64,
    /// Number of samples of series and targets beyond the limits.
    pub left_out: u64,
    /// Number of samples of series whose labels can't be used.
    pub refused: u64,
    /// Problems without a failure: warnings from Prometheus, and series without a target.
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

/// The status of all signals, in the order of the configuration. Clones share their contents.
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

    /// Returns the status of every signal.
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
    /// Records the result of a round, and logs a change of it.
    pub(super) fn round(&mut self, at: UnixMs, failure: Option<SourceError>) {
        let signal = &self.signal;
        match failure {
            None => {
                if self.failing {
                    tracing::info!(signal, "source recovered");
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
                    tracing::warn!(signal, %error, "source failed");
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
