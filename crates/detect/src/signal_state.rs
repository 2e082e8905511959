//! A watched signal: its series, its detectors, and its status.

use std::sync::Arc;

use serde::Serialize;

use super::batch::{Message, Unreadable};
use super::context::{DetectContext, SignalView};
use super::detector::{SeriesFinding, SignalDetector};
use super::dropped::{DropShare, Dropped};
use super::quarantine::{DetectorFailure, DetectorSet, Evaluation};
use super::series::SeriesTable;
use super::warmup::Learning;
use anomalyzer_domain::{DetectorConfig, Meaning, UnixMs, as_rfc3339_option};
use anomalyzer_plugin_host::Frame;
use anomalyzer_wire::metrics::Content;

/// Time for which a series whose labels can't be used is shown.
const REFUSED_SHOWN_MS: i64 = 5 * 60 * 1000;

/// The state of a signal's detection, for the API.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DetectStatus {
    /// Number of open series.
    pub series: usize,
    /// Progress of the detectors that need more samples of some series before they report findings.
    pub learning: Vec<Learning>,
    /// Number of evaluated samples.
    pub samples: u64,
    /// Number of dropped samples that were late or repeated.
    pub late: u64,
    /// Number of dropped samples that were not finite.
    pub not_finite: u64,
    /// Number of dropped samples of series beyond the maximum number of series.
    #[serde(rename = "overlooked")]
    pub dropped_samples: u64,
    /// Number of dropped samples of series whose labels can't be used.
    pub refused: u64,
    /// A series whose labels can't be used that arrived in the last minutes, with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_series: Option<String>,
    /// A large share of samples that were dropped in the last minute: late, with a time that is not
    /// plausible, or beyond the maximum number of series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<Dropped>,
    /// The reasons why detectors never learn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub never_learns: Vec<String>,
    /// Number of findings.
    pub findings: u64,
    /// The detectors, as `name@version`.
    pub detectors: Vec<String>,
    /// The quarantined detectors, each with the reason and its replacement.
    pub quarantined: Vec<String>,
    /// The last problem with a detector.
    pub problem: Option<String>,
    /// Number of series whose state was restored when a detector was opened last.
    pub restored: usize,
    /// The reason why other saved states were not restored. The available past was replayed for
    /// their series.
    pub not_restored: Option<String>,
    /// Time of the last save of detector state.
    #[serde(with = "as_rfc3339_option")]
    pub saved_at: Option<UnixMs>,
    /// The reason why detector state is not saved.
    pub not_saved: Option<String>,
}

/// A signal that is watched.
pub(super) struct SignalState {
    meaning: Meaning,
    pub(super) table: SeriesTable,
    /// Time of the newest batch.
    pub(super) heard_at: UnixMs,
    pub(super) detectors: DetectorSet,
    pub(super) status: DetectStatus,
    dropped: DropShare,
    /// Time of the last series whose labels can't be used.
    refused_at: Option<UnixMs>,
    /// True if the saved state of the signal was restored.
    pub(super) is_restored: bool,
}

impl SignalState {
    /// Opens the detectors of a signal.
    ///
    /// # Errors
    /// A detector does not open.
    pub(super) async fn open(
        signal: &str,
        meaning: Meaning,
        configs: &[DetectorConfig],
        context: &DetectContext,
    ) -> Result<Self, DetectorFailure> {
        Ok(Self {
            meaning,
            table: SeriesTable::default(),
            heard_at: UnixMs::MIN,
            detectors: DetectorSet::open(signal, configs, context).await?,
            status: DetectStatus::default(),
            dropped: DropShare::default(),
            refused_at: None,
            is_restored: false,
        })
    }

    /// Returns the detectors, and the view of the signal that they need.
    pub(super) fn split<'a>(
        &'a mut self,
        signal: &'a str,
    ) -> (&'a mut DetectorSet, SignalView<'a>) {
        let view = SignalView {
            signal,
            meaning: self.meaning,
            table: &self.table,
        };
        (&mut self.detectors, view)
    }

    /// Adds the samples of messages to the series. Returns them as a frame, and the messages that
    /// could not be read to their end. `latest` is the latest time that a sample can have by the
    /// present clock.
    pub(super) fn feed<'a>(
        &mut self,
        messages: &[&Message<'a>],
        now: UnixMs,
        latest: UnixMs,
    ) -> (Frame, Vec<Unreadable<'a>>) {
        self.table.set_latest(latest);
        let dropped = |table: &SeriesTable| table.late - table.repeated + table.dropped;
        let (before, refused) = (dropped(&self.table), self.table.refused);
        let mut frame = Frame {
            now,
            ..Frame::default()
        };
        let mut unreadable = Vec::new();
        for message in messages {
            let target = &message.target;
            let fed = match &message.content {
                Content::Read(series) => {
                    self.table.feed(&mut frame, target, series);
                    Ok(())
                }
                Content::Encoded(series) => {
                    self.table.feed_encoded(&mut frame, target, series.clone())
                }
            };
            if let Err(error) = fed {
                unreadable.push(Unreadable {
                    delivery: message.delivery,
                    reason: format!("{error}; what came before that was used"),
                });
            }
        }
        if self.table.refused > refused {
            self.refused_at = Some(now);
        }
        // A time from when the clock was ahead must not keep a signal busy for years.
        self.heard_at = match self.heard_at > latest {
            true => now,
            false => self.heard_at.max(now),
        };
        let lost = dropped(&self.table) - before + unreadable.len() as u64;
        self.dropped.count(now, frame.ids.len() as u64, lost);
        self.table.close_idle(&mut frame, now);
        self.status.samples += frame.ids.len() as u64;
        (frame, unreadable)
    }

    /// Evaluates a frame with all detectors.
    pub(super) async fn evaluate(
        &mut self,
        signal: &str,
        frame: &Arc<Frame>,
        context: &DetectContext,
    ) -> Evaluation {
        let (detectors, view) = self.split(signal);
        let evaluation = detectors.evaluate(view, frame, context).await;
        self.status.findings += evaluation.findings.len() as u64;
        evaluation
    }

    /// Ends the ongoing anomalies of the series that the frame closes.
    pub(super) fn end_closed(&mut self, signal: &str, frame: &Frame) -> Vec<SeriesFinding> {
        let (detectors, view) = self.split(signal);
        detectors.end_closed(view, frame)
    }

    /// Follows the changes of the plugins.
    pub(super) async fn follow(
        &mut self,
        signal: &str,
        context: &DetectContext,
    ) -> Vec<SeriesFinding> {
        let now = self.heard_at;
        let (detectors, view) = self.split(signal);
        detectors.follow(view, now, context).await
    }

    /// Updates the status and returns it.
    pub(super) fn status(&mut self) -> DetectStatus {
        let active = &mut self.detectors.active;
        let refused = |detector: &SignalDetector| {
            let why = detector.not_restored.as_ref();
            why.map(|why| format!("{}: {why}", detector.config.name))
        };
        let learning = active
            .iter_mut()
            .filter_map(|detector| detector.learning(&self.table, self.heard_at))
            .collect();
        let never_learns = active
            .iter()
            .filter_map(|detector| detector.never_learns(self.heard_at))
            .collect();
        let restored = active.iter().map(|detector| detector.restored).max();
        let is_recent = |at: UnixMs| self.heard_at.saturating_sub(at) < REFUSED_SHOWN_MS;
        let refused_series = self.refused_at.is_some_and(is_recent).then(|| {
            let reason = self.table.refused_series.clone();
            reason.unwrap_or_default()
        });
        self.status = DetectStatus {
            series: self.table.len(),
            learning,
            late: self.table.late,
            not_finite: self.table.not_finite,
            dropped_samples: self.table.dropped,
            refused: self.table.refused,
            refused_series,
            dropped: self.dropped.large(),
            never_learns,
            detectors: active.iter().map(SignalDetector::title).collect(),
            restored: restored.unwrap_or(0),
            not_restored: active.iter().find_map(refused),
            quarantined: self.detectors.describe_quarantined(),
            problem: self.detectors.problem.clone(),
            ..std::mem::take(&mut self.status)
        };
        self.status.clone()
    }
}
