//! Saved state of a detector: what it saves, and what another instance restores.

use super::{SAVE_CHUNK, SignalDetector};
use crate::context::SignalView;
use crate::restore::{RestoreReport, ToRestore, restore_series};
use crate::series::SeriesTable;
use crate::state_store::{Onset, RowKey, SavedState, StateStore};
use anomalyzer_domain::{Labels, Target, UnixMs};
use anomalyzer_plugin_host::{DetectorHandle, PluginError};

impl SignalDetector {
    /// Restores the saved state of the open series into `handle`. Returns false if the instance was
    /// lost in the restore.
    pub(super) async fn restore_from(
        &self,
        store: &StateStore,
        handle: &DetectorHandle,
        of: SignalView<'_>,
        report: &mut RestoreReport,
    ) -> bool {
        let mut next = Some(RowKey::default());
        while let Some(after) = next {
            let page = match store.page(of.signal, &after).await {
                Ok(page) => page,
                Err(error) => {
                    report.refuse(1, error.to_string());
                    return true;
                }
            };
            let mut states: Vec<ToRestore> = Vec::new();
            for state in page.rows {
                let id = state
                    .series
                    .as_ref()
                    .map(|(target, labels)| of.table.id(target, labels));
                // `Some(None)`: the series is not open.
                if self.owns(&state) && id != Some(None) {
                    states.push((id.flatten(), state));
                }
            }
            if !restore_series(handle, states, report).await {
                return false;
            }
            next = page.next;
        }
        true
    }

    /// Returns true if a detector with this name and these settings saved the state.
    pub(crate) fn owns(&self, state: &SavedState) -> bool {
        self.config.name == state.detector && self.settings == state.settings
    }

    /// Copies the state of this instance into `handle`, which runs another version. Returns false
    /// if the new instance was lost in the restore.
    pub(super) async fn hand_over(
        &mut self,
        handle: &DetectorHandle,
        of: SignalView<'_>,
        report: &mut RestoreReport,
    ) -> bool {
        let id = |state: &SavedState| {
            state
                .series
                .as_ref()
                .and_then(|(target, labels)| of.table.id(target, labels))
        };
        let ids = of.table.ids();
        for chunk in ids.chunks(SAVE_CHUNK) {
            let states = self
                .save(of.table, chunk)
                .await
                .into_iter()
                .map(|state| (id(&state), state))
                .collect();
            if !restore_series(handle, states, report).await {
                return false;
            }
        }
        if let Some(why) = &self.not_saved {
            report.refuse(
                ids.len() - report.series.len(),
                format!("it could not be saved: {why}"),
            );
        }
        true
    }

    /// Returns true if the series of the detector may share state.
    pub(crate) async fn may_share_state(&self) -> bool {
        if !self.handle.is_stateful() || self.must_reopen {
            return true;
        }
        self.shares_state
            && !matches!(
                self.handle.save(vec![None]).await.as_deref(),
                Ok([Ok(None)])
            )
    }

    /// Notes the outcome of a restore for the status.
    pub(crate) fn note_restore(&mut self, report: &RestoreReport) {
        self.restored = report.series.len();
        self.not_restored = report
            .why
            .as_ref()
            .map(|why| format!("{} of its series: {why}", report.refused));
        if let Some(why) = &self.not_restored {
            tracing::warn!(
                plugin = self.config.name,
                why,
                "part of the saved state was not restored"
            );
        }
    }

    /// Restores series with their saved state. Returns false if the instance was lost in the
    /// restore. The present instance is then new and has no state.
    pub(crate) async fn restore(
        &mut self,
        states: Vec<ToRestore>,
        report: &mut RestoreReport,
    ) -> bool {
        let survived = restore_series(&self.handle, states, report).await;
        self.faults += u32::from(!survived);
        survived
    }

    /// Returns the state of these series for the store. After a fault in `save` the detector is not
    /// asked again.
    pub(crate) async fn save(&mut self, table: &SeriesTable, ids: &[u32]) -> Vec<SavedState> {
        let mut states = Vec::new();
        if !self.handle.is_stateful() || self.not_saved.is_some() || self.must_reopen {
            return states;
        }
        let mut wanted: Vec<Option<u32>> = self.shares_state.then_some(None).into_iter().collect();
        let is_open = |id: &u32| table.watermark(*id).is_some();
        wanted.extend(ids.iter().copied().filter(is_open).map(Some));
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let answers = match self.handle.save(rest.to_vec()).await {
                Ok(answers) if !answers.is_empty() => answers,
                Ok(_) => break,
                Err(error) => {
                    // An instance that was lost before did not fail over this save.
                    if error.is_starvation() {
                        (self.must_reopen, self.is_starved) = (true, true);
                    } else if error.lost_instance() && !matches!(error, PluginError::Lost(_)) {
                        let plugin = &self.config.name;
                        tracing::warn!(plugin, %error, "detector failed to save its state; its state is no longer saved");
                        self.not_saved = Some(error.to_string());
                    }
                    break;
                }
            };
            let (done, left) = rest.split_at(answers.len().min(rest.len()));
            rest = left;
            for (of, answer) in done.iter().zip(answers) {
                let saved = answer.unwrap_or_else(|error| {
                    let plugin = &self.config.name;
                    tracing::debug!(plugin, series = of, %error, "a series is not saved");
                    None
                });
                match of {
                    Some(id) => states.extend(self.saved_state(table, *id, saved)),
                    None if saved.is_some() => {
                        states.push(self.row(None, UnixMs::MIN, None, saved));
                    }
                    None => self.shares_state = false,
                }
            }
        }
        states
    }

    fn saved_state(
        &self,
        table: &SeriesTable,
        id: u32,
        saved: Option<Vec<u8>>,
    ) -> Option<SavedState> {
        let (target, labels) = table.get(id)?;
        let series = (target.clone(), labels.clone());
        let onset = self.onsets.get(&id).cloned();
        let state = self.row(Some(series), table.watermark(id)?, onset, saved);
        Some(SavedState {
            seen: self.warmup.seen(id),
            ..state
        })
    }

    fn row(
        &self,
        series: Option<(Target, Labels)>,
        watermark: UnixMs,
        onset: Option<Onset>,
        saved: Option<Vec<u8>>,
    ) -> SavedState {
        SavedState {
            series,
            detector: self.config.name.clone(),
            settings: self.settings,
            version: self.handle.version().to_owned(),
            digest: self.handle.digest().to_owned(),
            watermark,
            seen: None,
            onset,
            saved,
        }
    }
}
