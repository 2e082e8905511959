//! Saves the state of detectors: a series that changed its phase before its message is committed,
//! the other series from time to time, and all of them at the end.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::detector::SAVE_CHUNK;
use super::signal_state::SignalState;
use super::state_store::StateStore;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Labels, Target};

/// Maximum number of chunks of series saved between two batches of messages, so that no batch waits
/// long.
const CHUNKS_PER_BATCH: usize = 4;
/// Time-out of the last save.
const FINAL_SAVE_TIMEOUT: Duration = Duration::from_secs(30);

/// The series that must be saved or forgotten.
pub(super) struct Checkpointer {
    pub(super) store: StateStore,
    /// Time of the next round of saves.
    due: Instant,
    /// Chunks of series of the present round, each with its signal.
    waiting: VecDeque<(String, Vec<u32>)>,
    /// Series that changed their phase since the last commit, by signal.
    changed: BTreeMap<String, BTreeSet<u32>>,
    /// Series that ended since the last commit, by signal.
    gone: BTreeMap<String, Vec<(Target, Labels)>>,
}

impl Checkpointer {
    pub(super) fn new(store: StateStore) -> Self {
        let due = Instant::now() + store.config().save_every;
        Self {
            store,
            due,
            waiting: VecDeque::new(),
            changed: BTreeMap::new(),
            gone: BTreeMap::new(),
        }
    }

    /// Notes that a series changed its phase.
    pub(super) fn mark_changed(&mut self, signal: &str, id: u32) {
        self.changed
            .entry(signal.to_owned())
            .or_default()
            .insert(id);
    }

    /// Notes that a series ended.
    pub(super) fn mark_gone(&mut self, signal: &str, series: (Target, Labels)) {
        self.gone.entry(signal.to_owned()).or_default().push(series);
    }

    /// Saves the series that must be on disk before their messages are committed.
    pub(super) async fn before_commit(&mut self, signals: &mut HashMap<String, SignalState>) {
        for (signal, gone) in std::mem::take(&mut self.gone) {
            if let Err(error) = self.store.forget(&signal, &gone).await {
                tracing::warn!(signal, %error, "cannot forget ended series");
            }
        }
        for (signal, ids) in std::mem::take(&mut self.changed) {
            let ids: Vec<u32> = ids.into_iter().collect();
            for ids in ids.chunks(SAVE_CHUNK) {
                self.save(signals, &signal, ids).await;
            }
        }
    }

    /// Saves some of the series with new samples, if it is time.
    pub(super) async fn save_if_due(&mut self, signals: &mut HashMap<String, SignalState>) {
        if self.waiting.is_empty() && Instant::now() >= self.due {
            self.due = Instant::now() + self.store.config().save_every;
            self.queue_unsaved(signals);
            if let Err(error) = self.store.prune().await {
                tracing::warn!(%error, "cannot prune old detector state");
            }
        }
        for _ in 0..CHUNKS_PER_BATCH {
            let Some((signal, ids)) = self.waiting.pop_front() else {
                break;
            };
            self.save(signals, &signal, &ids).await;
        }
    }

    /// Saves all series with new samples, and closes the store.
    pub(super) async fn save_all(&mut self, signals: &mut HashMap<String, SignalState>) {
        self.waiting.clear();
        self.queue_unsaved(signals);
        let all = async {
            self.before_commit(signals).await;
            while let Some((signal, ids)) = self.waiting.pop_front() {
                self.save(signals, &signal, &ids).await;
            }
            self.store.close().await;
        };
        if tokio::time::timeout(FINAL_SAVE_TIMEOUT, all).await.is_err() {
            tracing::warn!(timeout = ?FINAL_SAVE_TIMEOUT, "part of the detector state was not saved in time");
        }
    }

    fn queue_unsaved(&mut self, signals: &HashMap<String, SignalState>) {
        for (signal, state) in signals {
            for ids in state.table.unsaved().chunks(SAVE_CHUNK) {
                self.waiting.push_back((signal.clone(), ids.to_vec()));
            }
        }
    }

    /// Saves the state of these series for every detector of the signal.
    async fn save(&self, signals: &mut HashMap<String, SignalState>, signal: &str, ids: &[u32]) {
        let Some(state) = signals.get_mut(signal) else {
            return;
        };
        let mut rows = Vec::new();
        for detector in &mut state.detectors.active {
            rows.extend(detector.save(&state.table, ids).await);
        }
        match self.store.save(signal, &rows).await {
            Ok(()) => {
                state.table.set_saved(ids);
                if !rows.is_empty() {
                    state.status.saved_at = Some(now_ms());
                }
                let mut active = state.detectors.active.iter();
                state.status.not_saved = active.find_map(|detector| {
                    let why = detector.not_saved.as_ref();
                    why.map(|why| format!("{}: {why}", detector.config.name))
                });
            }
            Err(error) => {
                if state.status.not_saved.is_none() {
                    tracing::warn!(signal, %error, "cannot save detector state");
                }
                state.status.not_saved = Some(error.to_string());
            }
        }
    }
}
