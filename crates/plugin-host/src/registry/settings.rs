//! Applies the decisions of people and of the host about a plugin: grants, mode, quarantine,
//! removal.

use serde_json::{Value, json};

use super::table::Entry;
use super::views::PluginView;
use super::{ManageError, Registry};
use crate::record::{PluginRecord, Quarantine};
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
        if let Some(shelf) = &self.shelf {
            shelf.put_record(&record).map_err(ManageError::Store)?;
        }
        let digest = record.active.clone();
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
        self.ground.stats.by_name(name).set_given_up(None);
        self.edit(
            name,
            PluginChangeKind::Lifted,
            by,
            json!({ "was": was }),
            |record| record.quarantine = None,
        )
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
        if let Some(shelf) = &self.shelf {
            shelf.remove(name).map_err(ManageError::Store)?;
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

    /// Records the quarantine of plugins for which the threads counted too many faults.
    pub(crate) fn settle(&self) {
        let given_up: Vec<(String, String)> = self.read(|table| {
            let healthy = table
                .entries
                .values()
                .filter(|entry| entry.record.quarantine.is_none());
            let reason = |entry: &Entry| self.ground.stats.by_name(&entry.record.name).given_up();
            healthy
                .filter_map(|entry| Some((entry.record.name.clone(), reason(entry)?)))
                .collect()
        });
        for (name, reason) in given_up {
            tracing::error!(plugin = name, reason, "plugin quarantined");
            let quarantine = Quarantine {
                reason: reason.clone(),
                since: now_ms(),
                lifts_at: self
                    .ground
                    .stats
                    .by_name(&name)
                    .quiet_time_left()
                    .map(|left| now_ms().saturating_add(millis(left))),
            };
            let set = |record: &mut PluginRecord| record.quarantine = Some(quarantine);
            let told = self.edit(
                &name,
                PluginChangeKind::Quarantined,
                "host",
                json!({ "reason": reason }),
                set,
            );
            if let Err(error) = told {
                tracing::error!(plugin = name, %error, "failed to persist plugin quarantine");
            }
        }
    }
}
