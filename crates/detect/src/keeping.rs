//! When what detectors know is saved: what changed its phase before its message is committed, the
//! rest now and then and at the end.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::detector::SAVED_AT_ONCE;
use super::memory::{Memory, MemoryError};
use super::watched::Watched;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Labels, Target};

/// So many lots of series are saved between two batches of messages, so that no batch waits long.
const LOTS: usize = 4;
/// How long all may take at the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be saved.
pub(super) struct Keeping {
    pub(super) memory: Memory,
    due: Instant,
    waiting: VecDeque<(String, Vec<u32>)>,
    changed: BTreeMap<String, BTreeSet<u32>>,
    gone: BTreeMap<String, Vec<(Target, Labels)>>,
}

impl Keeping {
    pub(super) fn new(memory: Memory) -> Self {
        let due = Instant::now() + memory.config().save_every;
        Self {
            memory,
            due,
            waiting: VecDeque::new(),
            changed: BTreeMap::new(),
            gone: BTreeMap::new(),
        }
    }

    /// A series changed its phase.
    pub(super) fn changed(&mut self, signal: &str, id: u32) {
        self.changed
            .entry(signal.to_owned())
            .or_default()
            .insert(id);
    }

    /// A series is gone.
    pub(super) fn gone(&mut self, signal: &str, series: (Target, Labels)) {
        self.gone.entry(signal.to_owned()).or_default().push(series);
    }

    /// Saves what must be on disk before the messages that it came from are committed.
    pub(super) async fn before_commit(&mut self, watched: &mut HashMap<String, Watched>) {
        for (signal, gone) in std::mem::take(&mut self.gone) {
            if let Err(error) = self.memory.forget(&signal, &gone).await {
                tracing::warn!(signal, %error, "series that are gone are not forgotten");
            }
        }
        for (signal, ids) in std::mem::take(&mut self.changed) {
            let ids: Vec<u32> = ids.into_iter().collect();
            for ids in ids.chunks(SAVED_AT_ONCE) {
                self.save(watched, &signal, ids).await;
            }
        }
    }

    /// Saves some of what got samples, if it is time.
    pub(super) async fn now_and_then(&mut self, watched: &mut HashMap<String, Watched>) {
        if self.waiting.is_empty() && Instant::now() >= self.due {
            self.due = Instant::now() + self.memory.config().save_every;
            self.gather(watched);
            if let Err(error) = self.memory.prune().await {
                tracing::warn!(%error, "what detectors knew long ago is not forgotten");
            }
        }
        for _ in 0..LOTS {
            let Some((signal, ids)) = self.waiting.pop_front() else {
                break;
            };
            self.save(watched, &signal, &ids).await;
        }
    }

    /// Saves everything, and closes the file.
    pub(super) async fn at_the_end(&mut self, watched: &mut HashMap<String, Watched>) {
        self.waiting.clear();
        self.gather(watched);
        let all = async {
            self.before_commit(watched).await;
            while let Some((signal, ids)) = self.waiting.pop_front() {
                self.save(watched, &signal, &ids).await;
            }
            self.memory.close().await;
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::warn!(patience = ?PATIENCE, "not all that detectors know could be saved in time");
        }
    }

    fn gather(&mut self, watched: &HashMap<String, Watched>) {
        for (signal, watched) in watched {
            for ids in watched.table.unsaved().chunks(SAVED_AT_ONCE) {
                self.waiting.push_back((signal.clone(), ids.to_vec()));
            }
        }
    }

    async fn save(&self, watched: &mut HashMap<String, Watched>, signal: &str, ids: &[u32]) {
        let Some(watched) = watched.get_mut(signal) else {
            return;
        };
        let mut rows = Vec::new();
        for detector in &mut watched.detectors {
            rows.extend(detector.save(&watched.table, ids).await);
        }
        let saved: Result<(), MemoryError> = self.memory.save(signal, &rows).await;
        match saved {
            Ok(()) => {
                watched.table.set_saved(ids);
                if !rows.is_empty() {
                    watched.status.saved_at = Some(now_ms());
                }
                watched.status.not_saved = watched.detectors.iter().find_map(|detector| {
                    detector
                        .not_saved
                        .as_ref()
                        .map(|why| format!("{}: {why}", detector.config.name))
                });
            }
            Err(error) => {
                if watched.status.not_saved.is_none() {
                    tracing::warn!(signal, %error, "what detectors know is not saved");
                }
                watched.status.not_saved = Some(error.to_string());
            }
        }
    }
}
