//! The start of a signal: its saved state is restored, the samples since then are replayed, and the
//! live samples follow.

use super::backfill::Backfill;
use super::correlator::IncidentCorrelator;
use super::detector::{SeriesFinding, SignalDetector};
use super::restore::{RestoreReport, ToRestore};
use super::signal_state::SignalState;
use super::state_store::{Onset, Page, RowKey, SavedState, StateStore};
use anomalyzer_domain::UnixMs;

/// Maximum difference between the clocks of two producers. A saved state with a time beyond it
/// would make every sample of its series late.
const MAX_CLOCK_SKEW_MS: i64 = 60 * 60 * 1000;

/// The first samples of a signal since the start, or since its last series ended.
pub(super) struct WarmStart<'a> {
    pub(super) signal: &'a str,
    /// Time of the oldest sample that arrived.
    pub(super) first: UnixMs,
    /// Time of the newest batch.
    pub(super) now: UnixMs,
}

impl WarmStart<'_> {
    /// Restores the saved state and the ongoing anomalies of the signal, unless that was done
    /// before. Returns one report per detector.
    pub(super) async fn restore(
        &self,
        state: &mut SignalState,
        store: Option<&StateStore>,
        incidents: &IncidentCorrelator,
    ) -> Vec<RestoreReport> {
        let count = state.detectors.active.len();
        let mut reports: Vec<_> = (0..count).map(|_| RestoreReport::default()).collect();
        if std::mem::replace(&mut state.is_restored, true) {
            return reports;
        }
        if let Some(store) = store {
            self.restore_saved(state, store, &mut reports).await;
        }
        for (detector, report) in state.detectors.active.iter_mut().zip(&reports) {
            detector.note_restore(report);
            // An ongoing anomaly keeps its id, also if the detector finds it again by itself.
            for (target, finding) in incidents.inherited(self.signal, &detector.config.name) {
                let opened = state
                    .table
                    .restore(&target, &finding.labels, UnixMs::MIN, self.now);
                if let Some((id, _)) = opened {
                    let onset = Onset {
                        at: finding.onset_at,
                        finding: finding.id,
                    };
                    detector.restore_onset(id, onset);
                }
            }
        }
        reports
    }

    /// Restores the saved state page by page, and forgets the state of other settings.
    async fn restore_saved(
        &self,
        state: &mut SignalState,
        store: &StateStore,
        reports: &mut [RestoreReport],
    ) {
        let (mut next, mut damaged) = (Some(RowKey::default()), 0);
        // A detector that fails over its state gets no more of it.
        let mut failed = vec![false; reports.len()];
        while let Some(after) = next {
            let Page {
                rows,
                damaged: more,
                next: following,
            } = match store.page(self.signal, &after).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(signal = self.signal, %error, "cannot read the saved state of detectors");
                    state.status.not_saved = Some(error.to_string());
                    break;
                }
            };
            damaged += more;
            let states = self.assign(state, rows, reports);
            for (index, states) in states.into_iter().enumerate() {
                if !failed[index] {
                    let detector = &mut state.detectors.active[index];
                    failed[index] = !detector.restore(states, &mut reports[index]).await;
                }
            }
            next = following;
        }
        for (detector, report) in state.detectors.active.iter().zip(reports) {
            self.forget_other_settings(&state.detectors.active, detector, store, report)
                .await;
            report.refuse(damaged, "it is damaged");
        }
    }

    /// Assigns saved states to the detectors that own them, and opens their series.
    fn assign(
        &self,
        state: &mut SignalState,
        rows: Vec<SavedState>,
        reports: &mut [RestoreReport],
    ) -> Vec<Vec<ToRestore>> {
        let detectors = &mut state.detectors.active;
        let mut assigned: Vec<Vec<ToRestore>> = reports.iter().map(|_| Vec::new()).collect();
        for saved in rows {
            let owner = detectors.iter().position(|detector| detector.owns(&saved));
            let Some(index) = owner else {
                continue;
            };
            let Some((target, labels)) = &saved.series else {
                assigned[index].push((None, saved));
                continue;
            };
            if saved.watermark > self.now.saturating_add(MAX_CLOCK_SKEW_MS) {
                reports[index].refuse(1, "its samples are from the future");
                continue;
            }
            let opened = state
                .table
                .restore(target, labels, saved.watermark, self.now);
            match opened {
                Some((id, watermark)) if watermark == saved.watermark => {
                    if let Some(onset) = &saved.onset {
                        detectors[index].restore_onset(id, onset.clone());
                    }
                    assigned[index].push((Some(id), saved));
                }
                _ => reports[index].refuse(
                    1,
                    "it was saved at another time than the rest of the series",
                ),
            }
        }
        assigned
    }

    /// Forgets the states that a detector of this name saved under settings that no detector has.
    async fn forget_other_settings(
        &self,
        detectors: &[SignalDetector],
        detector: &SignalDetector,
        store: &StateStore,
        report: &mut RestoreReport,
    ) {
        let name = &detector.config.name;
        let namesakes = detectors.iter().filter(|one| one.config.name == *name);
        let settings: Vec<_> = namesakes.map(|one| one.settings).collect();
        match store
            .forget_other_settings(self.signal, name, &settings)
            .await
        {
            Ok(rows) => report.refuse(rows as usize, "it was saved under other settings"),
            Err(error) => {
                tracing::warn!(signal = self.signal, %error, "cannot forget the state of other settings");
            }
        }
    }

    /// Replays the samples that the restored state lacks. Returns the anomalies that are ongoing at
    /// the end of the past, and the ends of known ones.
    pub(super) async fn replay(
        &self,
        state: &mut SignalState,
        reports: &[RestoreReport],
        backfill: Option<&dyn Backfill>,
    ) -> Vec<SeriesFinding> {
        let active = &state.detectors.active;
        let wanted = active
            .iter()
            .map(SignalDetector::history_ms)
            .max()
            .unwrap_or(0);
        let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
        let to = self.first.saturating_sub(1);
        let from = missing_since(state, reports).max(self.first.saturating_sub(wanted));
        let past = match backfill {
            Some(backfill) if from <= to => backfill
                .history(self.signal, from, to)
                .await
                .unwrap_or_default(),
            _ => vec![],
        };
        let series = past.len();
        let history = state.table.fill(past, to);
        let mut found = Vec::new();
        let (detectors, view) = state.split(self.signal);
        for (detector, report) in detectors.active.iter_mut().zip(reports) {
            match detector.learn(view, &history, report).await {
                // The incident correlator expires the anomalies that the detector does not know.
                Ok((findings, unknown)) => {
                    found.extend(findings);
                    detector.forget_onsets(&unknown);
                }
                Err(error) => {
                    // The next frame opens the detector anew.
                    let plugin = &detector.config.name;
                    tracing::warn!(signal = self.signal, plugin, %error, "cannot replay the past");
                    detectors.problem = Some(error.to_string());
                }
            }
        }
        let restored = reports.iter().map(|report| report.series.len()).max();
        let restored = restored.unwrap_or(0);
        tracing::info!(signal = self.signal, series, restored, "signal started");
        found
    }
}

/// Returns the time from which on a detector can use the past: the oldest watermark if everything
/// was restored, else the beginning of time.
fn missing_since(state: &SignalState, reports: &[RestoreReport]) -> UnixMs {
    let ids = state.table.ids();
    let is_complete = |report: &RestoreReport| {
        report.refused == 0 && ids.iter().all(|id| report.series.contains_key(id))
    };
    if ids.is_empty() || !reports.iter().all(is_complete) {
        return UnixMs::MIN;
    }
    let watermarks = reports.iter().flat_map(|report| report.series.values());
    watermarks
        .min()
        .map_or(UnixMs::MIN, |oldest| oldest.saturating_add(1))
}
