//! Applies the decisions of people and of the host about a plugin: grants, mode, quarantine,
//! removal.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::table::Entry;
use super::views::PluginView;
use super::{ManageError, Registry};
use crate::record::{PluginRecord, Quarantine};
use crate::text::one_line;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Allowance, Mode, PluginChangeKind, millis};

impl Registry {
    /// Changes the record of a plugin.
    fn edit(
        &self,
        name: &str,
        kind: PluginChangeKind,
        by: &str,
        detail: Value,
        edit: impl FnOnce(&mut PluginRecord),
    ) -> Result<PluginView, ManageError> {
        let _changing = self.changing.lock();
        let mut record = self
            .record(name)
            .ok_or_else(|| ManageError::NotFound(name.to_owned()))?;
        edit(&mut record);
        if let Some(repository) = &self.repository {
            repository.put_record(&record).map_err(ManageError::Store)?;
        }
        let digest = record.active.clone();
        // The poll of the folder must not see a reason in the counts and no quarantine on record:
        // it would quarantine the plugin again.
        if record.quarantine.is_none()
            && kind == PluginChangeKind::Lifted
            && let Some(stats) = self.runtime.stats.by_name(name)
        {
            stats.set_quarantine(None);
        }
        self.write(|table| {
            if let Some(entry) = table.entries.get_mut(name) {
                entry.record = record;
            }
        });
        self.change(name, kind, by, digest, detail);
        self.moved();
        self.view(name)
            .ok_or_else(|| ManageError::NotFound(name.to_owned()))
    }

    pub(crate) fn set_grants(
        &self,
        name: &str,
        grants: Option<Vec<Allowance>>,
        by: &str,
    ) -> Result<PluginView, ManageError> {
        for grant in grants.iter().flatten() {
            grant
                .validate()
                .map_err(|issue| ManageError::Refused(issue.message))?;
        }
        self.edit(
            name,
            PluginChangeKind::Granted,
            by,
            json!({ "grants": grants }),
            |record| record.grants = grants,
        )
    }

    pub(crate) fn set_mode(
        &self,
        name: &str,
        mode: Mode,
        by: &str,
    ) -> Result<PluginView, ManageError> {
        self.edit(
            name,
            PluginChangeKind::ModeSet,
            by,
            json!({ "mode": mode }),
            |record| record.mode = mode,
        )
    }

    pub(crate) fn lift(&self, name: &str, by: &str) -> Result<PluginView, ManageError> {
        let was = self.record(name).and_then(|record| record.quarantine);
        let view = self.edit(
            name,
            PluginChangeKind::Lifted,
            by,
            json!({ "was": was }),
            |record| record.quarantine = None,
        )?;
        self.unsaved.lock().remove(name);
        Ok(view)
    }

    /// Removes a plugin. Returns an error if its file is still in the folder, because the next poll
    /// would bring it back.
    pub(crate) fn remove(&self, name: &str, by: &str) -> Result<(), ManageError> {
        let _changing = self.changing.lock();
        let record = self
            .record(name)
            .ok_or_else(|| ManageError::NotFound(name.to_owned()))?;
        let file = self.read(|table| {
            table
                .entries
                .get(name)?
                .file
                .as_ref()
                .map(|(file, _)| file.clone())
        });
        if let Some(file) = file {
            return Err(ManageError::Conflict(format!(
                "{file} is in the plugin folder; take it out there"
            )));
        }
        if let Some(repository) = &self.repository {
            repository.remove(name).map_err(ManageError::Store)?;
        }
        self.write(|table| table.entries.remove(name));
        self.change(
            name,
            PluginChangeKind::Removed,
            by,
            record.active,
            Value::Null,
        );
        self.sweep();
        self.moved();
        Ok(())
    }

    /// Removes one candidate of a plugin, and the plugin with its only version.
    pub(crate) fn remove_candidate(
        &self,
        name: &str,
        digest: &str,
        by: &str,
    ) -> Result<(), ManageError> {
        let _changing = self.changing.lock();
        let mut record = self
            .record(name)
            .ok_or_else(|| ManageError::NotFound(name.to_owned()))?;
        let version = record.version(digest);
        let candidate = version.filter(|version| version.approved_by.is_none());
        let Some(digest) = candidate.map(|candidate| candidate.digest.clone()) else {
            return Err(ManageError::Conflict(format!(
                "`{name}` has no candidate `{}`; only a version that nobody made live can be removed by itself",
                one_line(digest, 80)
            )));
        };
        record.forget(&digest);
        if let Some(repository) = &self.repository {
            let stored = match record.versions.is_empty() {
                true => repository.remove(name),
                false => repository.put_record(&record),
            };
            stored.map_err(ManageError::Store)?;
        }
        self.write(|table| {
            if record.versions.is_empty() {
                table.entries.remove(name);
            } else if let Some(entry) = table.entries.get_mut(name) {
                entry.record = record;
            }
        });
        let detail = json!({ "reason": "a candidate was removed" });
        self.change(name, PluginChangeKind::Removed, by, Some(digest), detail);
        self.sweep();
        self.moved();
        Ok(())
    }

    /// Records the quarantine of plugins for which the threads counted too many faults. A
    /// quarantine counts at once, also if it can't be stored: the next polls try to store it.
    pub(crate) fn settle(&self) {
        let _changing = self.changing.lock();
        self.store_unsaved();
        let faulted: Vec<(PluginRecord, String)> = self.read(|table| {
            let healthy = table
                .entries
                .values()
                .filter(|entry| entry.record.quarantine.is_none());
            let with_reason = |entry: &Entry| {
                let stats = self.runtime.stats.by_name(&entry.record.name)?;
                Some((entry.record.clone(), stats.quarantine_reason()?))
            };
            healthy.filter_map(with_reason).collect()
        });
        for (mut record, reason) in faulted {
            let name = record.name.clone();
            tracing::error!(plugin = name, reason, "plugin quarantined");
            record.quarantine = Some(Quarantine {
                reason: reason.clone(),
                since: now_ms(),
                lifts_at: self
                    .runtime
                    .stats
                    .by_name(&name)
                    .and_then(|stats| stats.quiet_time_left())
                    .map(|left| now_ms().saturating_add(millis(left))),
            });
            let digest = record.active.clone();
            self.write(|table| {
                if let Some(entry) = table.entries.get_mut(&name) {
                    entry.record = record;
                }
            });
            let detail = json!({ "reason": reason });
            self.change(&name, PluginChangeKind::Quarantined, "host", digest, detail);
            self.moved();
            self.unsaved.lock().insert(name);
            self.store_unsaved();
        }
    }

    /// Stores the quarantines that are not stored yet. Logs the first failure of each.
    fn store_unsaved(&self) {
        let Some(repository) = &self.repository else {
            return;
        };
        let mut unsaved = self.unsaved.lock();
        let was_failing = self.quarantine_fails.load(Relaxed);
        let mut fails = false;
        unsaved.retain(|name| {
            let Some(record) = self.record(name) else {
                return false;
            };
            let Err(error) = repository.put_record(&record) else {
                return false;
            };
            if !was_failing {
                tracing::error!(
                    plugin = name,
                    error,
                    "failed to persist plugin quarantine; trying again"
                );
            }
            fails = true;
            true
        });
        self.quarantine_fails.store(fails, Relaxed);
    }
}
