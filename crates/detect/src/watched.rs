//! A signal that is watched: its series, its detectors, and how they do.

use std::sync::Arc;

use serde::Serialize;

use super::detector::{Detector, Named, Subject};
use super::learning::Learning;
use super::memory::Memory;
use super::quarantine::Quarantined;
use super::series::SeriesTable;
use anomalyzer_collect::DetectorConfig;
use anomalyzer_domain::{Meaning, UnixMs, as_rfc3339_option};
use anomalyzer_plugin_host::{Frame, PluginError, Plugins};

/// What is known of a signal's detection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DetectStatus {
    /// Open series.
    pub series: usize,
    /// The detectors that say nothing of some of them yet: they want to see more samples first.
    pub learning: Vec<Learning>,
    /// Samples seen.
    pub samples: u64,
    /// Late or repeated samples, dropped.
    pub late: u64,
    /// Samples that were not finite, dropped.
    pub not_finite: u64,
    /// Samples of series beyond the most that are watched, dropped.
    pub overlooked: u64,
    /// Findings.
    pub findings: u64,
    /// The detectors, `name@version`.
    pub detectors: Vec<String>,
    /// Those that are quarantined, why, and what watches in their place.
    pub quarantined: Vec<String>,
    /// What went wrong last with one of them.
    pub problem: Option<String>,
    /// Series whose memory was restored when a detector was opened last.
    pub restored: usize,
    /// Why what was saved of others was not: they were shown the past again, as far as there is
    /// one.
    pub not_restored: Option<String>,
    /// When what the detectors know was saved last.
    #[serde(with = "as_rfc3339_option")]
    pub saved_at: Option<UnixMs>,
    /// Why it is not saved.
    pub not_saved: Option<String>,
}

/// What detectors are opened with.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) plugins: &'a Plugins,
    /// Those that watch what nobody configured, and in place of those that are quarantined.
    pub(super) fallback: &'a [DetectorConfig],
    pub(super) memory: Option<&'a Memory>,
}

pub(super) struct Watched {
    pub(super) meaning: Meaning,
    pub(super) table: SeriesTable,
    pub(super) heard_at: UnixMs,
    pub(super) detectors: Vec<Detector>,
    pub(super) quarantined: Vec<Quarantined>,
    pub(super) status: DetectStatus,
    /// Whether what was saved of it was restored.
    pub(super) recalled: bool,
}

impl Watched {
    /// Opens these detectors, or what watches in place of those that are quarantined. The error
    /// says which one does not open.
    pub(super) async fn open(
        signal: &str,
        meaning: Meaning,
        configs: &[DetectorConfig],
        means: Means<'_>,
    ) -> Result<Self, (String, PluginError)> {
        let mut watched = Self {
            meaning,
            table: SeriesTable::default(),
            heard_at: UnixMs::MIN,
            detectors: vec![],
            quarantined: vec![],
            status: DetectStatus::default(),
            recalled: false,
        };
        for config in configs {
            match Detector::open(means.plugins, config).await {
                Ok(detector) => watched.detectors.push(detector),
                Err(error) if error.is_quarantine() => {
                    watched
                        .quarantined
                        .push(Quarantined::new(means.plugins, config, false, error));
                }
                Err(error) => return Err((config.name.clone(), error)),
            }
        }
        watched.stand_in(signal, means, false).await;
        Ok(watched)
    }

    pub(super) fn subject<'a>(&'a self, signal: &'a str) -> Subject<'a> {
        Subject {
            signal,
            meaning: self.meaning,
            table: &self.table,
        }
    }

    /// Its status as it is now.
    pub(super) fn status(&mut self) -> DetectStatus {
        let refused = |detector: &Detector| {
            detector
                .not_restored
                .as_ref()
                .map(|why| format!("{}: {why}", detector.config.name))
        };
        let (table, now) = (&self.table, self.heard_at);
        let learning = self
            .detectors
            .iter_mut()
            .filter_map(|detector| detector.learning(table, now))
            .collect();
        self.status = DetectStatus {
            series: self.table.len(),
            learning,
            late: self.table.late,
            not_finite: self.table.not_finite,
            overlooked: self.table.overlooked,
            detectors: self.detectors.iter().map(Detector::title).collect(),
            quarantined: self.in_quarantine(),
            restored: self
                .detectors
                .iter()
                .map(|detector| detector.restored)
                .max()
                .unwrap_or(0),
            not_restored: self.detectors.iter().find_map(refused),
            ..std::mem::take(&mut self.status)
        };
        self.status.clone()
    }

    /// What goes on in series that are closed is over.
    pub(super) fn end(&mut self, signal: &str, frame: &Frame) -> Vec<Named> {
        let of = Subject {
            signal,
            meaning: self.meaning,
            table: &self.table,
        };
        self.detectors
            .iter_mut()
            .flat_map(|detector| detector.ended(of, frame))
            .collect()
    }

    /// Shows a frame to all its detectors; one that fails keeps it from none of the others, and one
    /// that is quarantined is taken out. Answers what they found, and which one failed, and why.
    pub(super) async fn look(
        &mut self,
        signal: &str,
        frame: &Arc<Frame>,
        means: Means<'_>,
    ) -> (Vec<Named>, Option<(String, PluginError)>) {
        let (mut found, mut failed, mut out) = (Vec::new(), None, Vec::new());
        for (index, detector) in self.detectors.iter_mut().enumerate() {
            let of = Subject {
                signal,
                meaning: self.meaning,
                table: &self.table,
            };
            match detector.look(of, frame, means.memory).await {
                Ok(named) => found.extend(named),
                Err(error) if error.is_quarantine() => out.push((index, error)),
                Err(error) => {
                    self.status.problem = Some(error.to_string());
                    failed = Some((detector.config.name.clone(), error));
                }
            }
        }
        found.extend(self.end(signal, frame));
        if !out.is_empty() {
            found.extend(self.take_out(signal, out, frame, means).await);
        }
        self.status.findings += found.len() as u64;
        if self.detectors.is_empty() {
            // Nobody has seen it.
            failed = self
                .quarantined
                .last()
                .map(|out| (out.config.name.clone(), out.error.clone()));
        }
        (found, failed)
    }

    /// Lets other versions of its detectors that are live since take over, and those back in that
    /// got another chance. One that does not open leaves the old one at work.
    pub(super) async fn follow(&mut self, signal: &str, means: Means<'_>) -> Vec<Named> {
        let mut found = self.let_back(signal, means).await;
        for detector in &mut self.detectors {
            let live = means.plugins.detector_digest(&detector.config.name);
            if live.as_deref().is_none_or(|live| live == detector.digest()) {
                continue;
            }
            let of = Subject {
                signal,
                meaning: self.meaning,
                table: &self.table,
            };
            match detector.swap(of, self.heard_at, means).await {
                Ok(named) => found.extend(named),
                Err(error) => {
                    tracing::error!(signal, detector = detector.config.name, %error, "a new version does not open");
                    self.status.problem = Some(format!("a new version does not open: {error}"));
                }
            }
        }
        found
    }
}
