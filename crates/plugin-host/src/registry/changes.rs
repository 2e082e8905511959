//! Persists changes to the plugins in the repository, and queues them for the history.

use serde_json::Value;

use super::Registry;
use crate::record::PluginRecord;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{PluginChange, PluginChangeKind};

/// Maximum number of changes that wait to be fetched. Beyond it, the oldest changes are dropped and
/// only logged.
const CHANGES: usize = 4096;

impl Registry {
    pub(super) fn keep(&self, record: &PluginRecord) {
        if let Some(repository) = &self.repository
            && let Err(error) = repository.put_record(record)
        {
            tracing::error!(
                plugin = record.name,
                error,
                "failed to persist plugin record"
            );
        }
    }

    pub(super) fn sweep(&self) {
        if let Some(repository) = &self.repository {
            let digests: std::collections::HashSet<String> = self.read(|table| {
                let versions = table
                    .entries
                    .values()
                    .flat_map(|entry| &entry.record.versions);
                versions.map(|version| version.digest.clone()).collect()
            });
            repository.sweep(|digest| digests.contains(digest));
        }
    }

    pub(super) fn moved(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    pub(super) fn change(
        &self,
        plugin: &str,
        kind: PluginChangeKind,
        by: &str,
        digest: Option<String>,
        detail: Value,
    ) {
        let plugin = plugin.to_owned();
        self.note(PluginChange {
            plugin,
            at: now_ms(),
            kind,
            by: by.to_owned(),
            digest,
            detail,
        });
    }

    pub(super) fn note(&self, change: PluginChange) {
        let mut changes = self.changes.lock();
        if changes.len() >= CHANGES {
            let lost = changes.remove(0);
            tracing::error!(
                plugin = lost.plugin,
                kind = lost.kind.as_str(),
                "dropped unrecorded plugin change"
            );
        }
        changes.push(change);
    }

    /// Returns the changes since the last call, oldest first.
    pub(crate) fn changes(&self) -> Vec<PluginChange> {
        std::mem::take(&mut *self.changes.lock())
    }

    /// Queues changes again that could not be recorded.
    pub(crate) fn put_back(&self, mut unrecorded: Vec<PluginChange>) {
        let mut changes = self.changes.lock();
        unrecorded.append(&mut changes);
        *changes = unrecorded;
    }
}
