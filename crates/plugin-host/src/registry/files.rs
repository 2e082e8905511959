//! Applies new, changed and removed files of the plugin folder to the registry.

use std::path::Path;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::signatures::path_of_signature;
use super::table::Entry;
use super::{Checked, Examined, Registry};
use crate::compile::Turn;
use crate::error::PluginError;
use crate::inspect;
use crate::inspect::examine;
use crate::plugin_info::{self, PluginInfo, blank};
use crate::record::PluginRecord;
use crate::text::one_line;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Origin, PluginChange, PluginChangeKind, Version};

impl Registry {
    /// Polls the folder. Returns the due files for [`Registry::take_file`].
    pub(crate) fn look(&self) -> Vec<std::path::PathBuf> {
        self.runtime.compiler.make_new_files_private();
        match self.folder.look(false) {
            Ok(look) => {
                self.report_folder_problem(None);
                for file in look.gone {
                    let _changing = self.changing.lock();
                    self.write(|table| table.broken.remove(&file));
                    let of_file = |entry: &&Entry| {
                        entry.file.as_ref().is_some_and(|(known, _)| *known == file)
                    };
                    let name = self.read(|table| {
                        table
                            .entries
                            .values()
                            .find(of_file)
                            .map(|entry| entry.record.name.clone())
                    });
                    if let Some(name) = name {
                        self.lose_file(&name, "its file is gone from the plugin folder");
                        // Other files may have been refused because of the removed file.
                        let refused: Vec<String> =
                            self.read(|table| table.broken.keys().cloned().collect());
                        refused.iter().for_each(|file| self.folder.again(file));
                    }
                }
                look.due
            }
            Err(error) => {
                self.report_folder_problem(Some(format!(
                    "the plugin folder can't be read: {error}; what was loaded stays"
                )));
                Vec::new()
            }
        }
    }

    fn report_folder_problem(&self, problem: Option<String>) {
        let mut known = self.problem.lock();
        if let Some(problem) = &problem
            && known.is_none()
        {
            tracing::warn!("{problem}");
        }
        *known = problem;
    }

    /// Adds a file of the folder to the plugins. An unusable file leaves the running version as it
    /// is, and is reported.
    pub(crate) fn take_file(&self, path: &Path, at_start: bool, cancel: &CancellationToken) {
        let mut info = blank(path);
        let taken = self.try_file(path, at_start, &mut info, cancel);
        self.folder.done(path);
        if cancel.is_cancelled() {
            return;
        }
        let file = info.file.clone();
        match taken {
            Ok(()) => drop(self.write(|table| table.broken.remove(&file))),
            Err(reason) => {
                let error = PluginError::Unusable {
                    file: file.clone(),
                    reason: one_line(&reason, 1024),
                };
                tracing::warn!(file, plugin.digest = info.digest, "{error}");
                self.note(PluginChange {
                    plugin: info.name.clone(),
                    at: now_ms(),
                    kind: PluginChangeKind::Refused,
                    by: format!("folder: {file}"),
                    digest: Some(info.digest.clone()).filter(|digest| !digest.is_empty()),
                    detail: json!({ "reason": reason }),
                });
                info.error = Some(error.to_string());
                self.write(|table| table.broken.insert(file, info));
            }
        }
    }

    fn try_file(
        &self,
        path: &Path,
        at_start: bool,
        info: &mut PluginInfo,
        cancel: &CancellationToken,
    ) -> Result<(), String> {
        self.folder.inside(path)?;
        let bytes = inspect::read(path, self.runtime.limits.max_component_bytes)?;
        let digest = plugin_info::digest(&bytes);
        info.digest.clone_from(&digest);
        let file = info.file.clone();
        let known = self.read(|table| {
            // A candidate with the same bytes may come from someone who may not decide what runs.
            let has = |entry: &&Entry| entry.record.approved(&digest).is_some();
            table
                .entries
                .values()
                .find(has)
                .map(|entry| entry.record.clone())
        });
        if let Some(record) = &known {
            let _changing = self.changing.lock();
            info.name.clone_from(&record.name);
            self.claim(&record.name, &file, at_start)?;
            // If someone reverted to another version, that version stays live over a restart. A
            // file that is put back later goes live.
            if at_start
                && record
                    .active
                    .as_ref()
                    .is_some_and(|active| *active != digest)
            {
                self.attach(&record.name, &file, &digest);
                return Ok(());
            }
        }
        let signature = self.signed(&bytes, &path_of_signature(path))?;
        let turn = Turn {
            uploader: false,
            cancel,
        };
        let prepared = examine(&self.runtime, &self.linker, &bytes, &turn, info)?;
        let examined = Examined {
            checked: Checked {
                info: info.clone(),
                bytes,
                signature,
            },
            prepared,
        };
        // The trial of the configuration judges the plugins of the start together.
        if !at_start {
            self.try_out(&examined)?;
        }
        let _changing = self.changing.lock();
        let name = info.name.clone();
        self.claim(&name, &file, at_start)?;
        self.install(examined, &Origin::Folder { file: file.clone() }, true)
            .map_err(|error| error.to_string())?;
        self.attach(&name, &file, &digest);
        Ok(())
    }

    /// Returns an error if another file holds the plugin's name, because one plugin is one file. At
    /// the start the files are loaded in any order, and the first of them in the alphabet counts.
    fn claim(&self, name: &str, file: &str, at_start: bool) -> Result<(), String> {
        let holder = self.read(|table| {
            table
                .entries
                .get(name)?
                .file
                .as_ref()
                .map(|(holder, _)| holder.clone())
        });
        let is_later = |holder: &String| at_start && holder.as_str() > file;
        match holder.filter(|it| it != file && self.folder.has(it) && !is_later(it)) {
            Some(holder) => Err(format!(
                "its name `{name}` is taken by {holder}; remove one of the two files"
            )),
            None => Ok(()),
        }
    }

    fn attach(&self, name: &str, file: &str, digest: &str) {
        self.write(|table| {
            for entry in table.entries.values_mut() {
                if entry.record.name == name {
                    let before = entry.file.replace((file.to_owned(), digest.to_owned()));
                    if let Some((before, _)) = before.filter(|(before, _)| before != file) {
                        // The next poll reports that its name is taken, if it is still there.
                        self.folder.again(&before);
                    }
                } else if entry.file.as_ref().is_some_and(|(known, _)| known == file) {
                    entry.file = None;
                }
            }
        });
    }

    /// Removes the versions that came from the folder, after their file is gone. Uploaded versions
    /// stay. If the live version was removed, the uploaded version that was live last goes live
    /// again. A version that nobody approved never does. The caller holds `changing`.
    pub(super) fn lose_file(&self, name: &str, why: &str) {
        let Some(mut record) = self.record(name) else {
            return;
        };
        let of_folder = |version: &&Version| matches!(version.origin, Origin::Folder { .. });
        let lost: Vec<String> = record
            .versions
            .iter()
            .filter(of_folder)
            .map(|version| version.digest.clone())
            .collect();
        lost.iter().for_each(|digest| record.forget(digest));
        if record.live().is_some() {
            self.keep(&record);
            self.write(|table| {
                if let Some(entry) = table.entries.get_mut(name) {
                    (entry.record, entry.file) = (record, None);
                }
            });
        } else {
            self.live_before(name, record);
        }
        self.sweep();
        self.moved();
        let digest = record_digest(self.record(name).as_ref());
        self.change(
            name,
            PluginChangeKind::Removed,
            "folder",
            None,
            json!({ "reason": why, "now_live": digest }),
        );
    }

    /// Makes the version live that was live last and can be used. Without one, only candidates are
    /// left of the plugin: its grants and its mode went with the versions that had them.
    fn live_before(&self, name: &str, mut record: PluginRecord) {
        (record.active, record.quarantine) = (None, None);
        while let Some(digest) = record.previous().map(|version| version.digest.clone()) {
            record.go_back(&digest);
            self.replace_record(&record);
            let turn = Turn {
                uploader: false,
                cancel: &CancellationToken::new(),
            };
            match self.open_stored(name, &digest, &turn) {
                Ok(live) => {
                    self.runtime.stats.of(&name.into()).begin();
                    self.keep(&record);
                    self.show_live(name, &digest, Ok(live));
                    return;
                }
                Err(error) => {
                    tracing::error!(plugin = name, %error, "a version that was live before can't be used");
                }
            }
        }
        let mut rest = PluginRecord::new(name, record.kind);
        rest.versions = record.candidates().cloned().collect();
        if !rest.versions.is_empty() {
            self.replace_record(&rest);
            self.keep(&rest);
            return;
        }
        if let Some(repository) = &self.repository
            && let Err(error) = repository.remove(name)
        {
            tracing::error!(
                plugin = name,
                error,
                "failed to delete plugin record; plugin returns at next start"
            );
        }
        self.write(|table| table.entries.remove(name));
    }

    /// Shows a record without a version that is live, and without a file.
    fn replace_record(&self, record: &PluginRecord) {
        self.write(|table| {
            if let Some(entry) = table.entries.get_mut(&record.name) {
                (entry.live, entry.problem, entry.file) = (None, None, None);
                entry.record = record.clone();
            }
        });
    }
}

fn record_digest(record: Option<&PluginRecord>) -> Option<String> {
    record.and_then(|record| record.active.clone())
}
