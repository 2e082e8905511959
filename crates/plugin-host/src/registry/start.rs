//! Loads the plugins at the start, each by itself. Nothing of a plugin is read before, so that no
//! plugin can hold up or end the start of the program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::table::{Entry, Live, Pending};
use super::{Checked, Examined, ManageError, Registry};
use crate::compile::Turn;
use crate::inspect::examine;
use crate::plugin_info::blank;
use crate::record::PluginRecord;
use anomalyzer_domain::{Origin, Version};

impl Registry {
    /// Adds a record of the repository. Its live version is not loaded.
    pub(super) fn adopt(&self, record: PluginRecord) {
        if let Some(quarantine) = &record.quarantine {
            let stats = self.runtime.stats.of(&record.name.as_str().into());
            stats.set_quarantine(Some(quarantine.reason.clone()));
        }
        let name = record.name.clone();
        self.write(|table| table.entries.insert(name, Entry::of(record)));
    }

    /// Determines the plugins to load: the files, and the live versions that were uploaded.
    pub(super) fn begin(&self, files: Vec<PathBuf>) {
        let mut pending: Vec<Pending> = files.into_iter().map(Pending::File).collect();
        let mut old = BTreeSet::new();
        self.write(|table| {
            for entry in table.entries.values_mut() {
                if !entry.record.has_approvers {
                    old.insert(entry.record.name.clone());
                    entry.record.upgrade(&[]);
                }
                let live = entry.record.live();
                if live.is_some_and(|live| matches!(live.origin, Origin::Upload { .. })) {
                    pending.push(Pending::Stored(entry.record.name.clone()));
                }
            }
            table.upgraded = old;
        });
        self.loading.send_replace(pending.len() + 1);
        *self.pending.lock() = pending;
    }

    /// Returns the names of the plugins whose record an earlier release wrote.
    pub(crate) fn upgraded(&self) -> Vec<String> {
        self.read(|table| table.upgraded.iter().cloned().collect())
    }

    /// Records which versions of a plugin were live under an earlier release.
    pub(crate) fn approve_earlier(&self, name: &str, live_once: &[String]) {
        let _changing = self.changing.lock();
        self.write(|table| {
            let upgraded = table.upgraded.remove(name);
            if let Some(entry) = table.entries.get_mut(name)
                && upgraded
            {
                entry.record.upgrade(live_once);
            }
        });
        if let Some(record) = self.record(name) {
            self.keep(&record);
        }
    }

    /// Returns the plugins to load, once.
    pub(crate) fn take_pending(&self) -> Vec<Pending> {
        std::mem::take(&mut *self.pending.lock())
    }

    /// Loads one plugin. A plugin that can't be used is reported.
    pub(crate) fn load_pending(&self, pending: &Pending, cancel: &CancellationToken) {
        match pending {
            Pending::File(path) => self.take_file(path, true, cancel),
            Pending::Stored(name) => self.load_live(name, cancel),
        }
        self.loading
            .send_modify(|left| *left = left.saturating_sub(1).max(1));
    }

    /// Ends the start, after all plugins were loaded: removes the versions whose file left the
    /// folder between two starts, and loads live versions without a file from the repository.
    pub(crate) fn finish_start(&self, cancel: &CancellationToken) {
        let without: Vec<PluginRecord> = self.read(|table| {
            let waits = |entry: &&Entry| {
                entry.live.is_none() && entry.problem.is_none() && entry.record.active.is_some()
            };
            table
                .entries
                .values()
                .filter(waits)
                .map(|entry| entry.record.clone())
                .collect()
        });
        for record in without {
            let has_file = self.read(|table| {
                let entry = table.entries.get(&record.name);
                entry.is_some_and(|entry| entry.file.is_some())
            });
            // A file that is there and can't be used leaves the version that ran in place.
            let is_there = |version: &Version| match &version.origin {
                Origin::Folder { file } => self.folder.has(file),
                Origin::Upload { .. } => true,
            };
            if record.live().is_some_and(|live| has_file || is_there(live)) {
                self.load_live(&record.name, cancel);
            } else if !cancel.is_cancelled() {
                let _changing = self.changing.lock();
                self.lose_file(&record.name, "its file is gone since the last start");
            }
        }
        self.sweep();
        self.loading.send_replace(0);
    }

    /// Loads the live version of a plugin from the repository, unless another version went live
    /// meanwhile.
    fn load_live(&self, name: &str, cancel: &CancellationToken) {
        let live = self.record(name).and_then(|record| record.active);
        let Some(digest) = live else { return };
        let turn = Turn {
            uploader: false,
            cancel,
        };
        let opened = self.open_stored(name, &digest, &turn);
        if let Err(error) = &opened {
            tracing::error!(plugin = name, %error, "failed to load live plugin version");
        }
        let _changing = self.changing.lock();
        self.show_live(name, &digest, opened.map_err(|error| error.to_string()));
        self.moved();
    }

    /// Shows a live version as usable, or the reason why it is not.
    pub(super) fn show_live(&self, name: &str, digest: &str, opened: Result<Live, String>) {
        self.write(|table| {
            let Some(entry) = table.entries.get_mut(name) else {
                return;
            };
            if entry.live.is_some() || entry.record.active.as_deref() != Some(digest) {
                return;
            }
            match opened {
                Ok(live) => (entry.live, entry.problem) = (Some(live), None),
                Err(problem) => entry.problem = Some(problem),
            }
        });
    }

    /// Reads a version from the repository, and makes it ready to be opened.
    pub(super) fn open_stored(
        &self,
        name: &str,
        digest: &str,
        turn: &Turn<'_>,
    ) -> Result<Live, ManageError> {
        let examined = self.examine_stored(name, digest, turn)?;
        self.open_examined(examined)
    }

    /// Reads a version from the repository, checks its signature, and has it examined.
    pub(super) fn examine_stored(
        &self,
        name: &str,
        digest: &str,
        turn: &Turn<'_>,
    ) -> Result<Examined, ManageError> {
        let record = self
            .record(name)
            .ok_or_else(|| ManageError::NotFound(name.to_owned()))?;
        let version = record
            .exact(digest)
            .ok_or_else(|| ManageError::Conflict(format!("`{name}` has no version `{digest}`")))?;
        let repository = self.repository.as_ref().ok_or_else(|| {
            ManageError::Conflict(
                "versions are not kept: no folder is configured for them (`plugins.store`)"
                    .to_owned(),
            )
        })?;
        let bytes = repository
            .bytes(digest, self.runtime.limits.max_component_bytes)
            .map_err(ManageError::Store)?;
        self.check_stored_signature(&bytes, version)
            .map_err(ManageError::Refused)?;
        let mut info = blank(Path::new(""));
        let prepared = examine(&self.runtime, &self.linker, &bytes, turn, &mut info)
            .map_err(ManageError::Refused)?;
        if info.name != name || info.kind != Some(record.kind) {
            let kind = record.kind.as_str();
            return Err(ManageError::Refused(format!("it is no {kind} `{name}`")));
        }
        Ok(Examined {
            checked: Checked {
                info,
                bytes,
                signature: None,
            },
            prepared,
        })
    }

    /// Makes an examined version ready to be opened. Its compiled code is kept from now on.
    pub(super) fn open_examined(&self, examined: Examined) -> Result<Live, ManageError> {
        let Examined { checked, prepared } = examined;
        let Checked { info, bytes, .. } = checked;
        let code = prepared
            .open(&self.runtime, &self.linker, &bytes, &info)
            .map_err(ManageError::Refused)?;
        Ok(Live { info, code })
    }

    /// Returns the number of plugins that are not loaded yet.
    pub(crate) fn loading(&self) -> usize {
        *self.loading.borrow()
    }

    /// Waits until `found` returns true, or until all plugins are loaded.
    pub(crate) async fn loaded_or(&self, found: impl Fn(&Self) -> bool) {
        let mut loading = self.loading.subscribe();
        // The sender lives as long as this registry.
        let _ = loading.wait_for(|left| *left == 0 || found(self)).await;
    }
}
