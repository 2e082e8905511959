//! Applies new, changed and removed files of the plugin folder to the registry.

use std::path::Path;

use serde_json::json;

use super::signatures::path_of_signature;
use super::table::Entry;
use super::{Examined, Registry};
use crate::error::PluginError;
use crate::inspect;
use crate::inspect::{PluginInfo, blank, examine};
use crate::record::PluginRecord;
use crate::text::one_line;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Origin, PluginChange, PluginChangeKind};

impl Registry {
    /// Polls the folder. Returns the due files for [`Registry::take_file`].
    pub(crate) fn look(&self) -> Vec<std::path::PathBuf> {
        match self.folder.look(false) {
            Ok(look) => {
                self.said(None);
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
                self.said(Some(format!(
                    "the plugin folder can't be read: {error}; what was loaded stays"
                )));
                Vec::new()
            }
        }
    }

    fn said(&self, problem: Option<String>) {
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
    pub(crate) fn take_file(&self, path: &Path, at_start: bool) {
        let mut info = blank(path);
        let taken = self.try_file(path, at_start, &mut info);
        self.folder.done(path);
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

    fn try_file(&self, path: &Path, at_start: bool, info: &mut PluginInfo) -> Result<(), String> {
        self.folder.inside(path)?;
        let bytes = inspect::read(path, self.ground.limits.max_component_bytes)?;
        let digest = inspect::digest(&bytes);
        info.digest.clone_from(&digest);
        let file = info.file.clone();
        let known = self.read(|table| {
            let has = |entry: &&Entry| {
                entry
                    .record
                    .versions
                    .iter()
                    .any(|version| version.digest == digest)
            };
            table
                .entries
                .values()
                .find(has)
                .map(|entry| entry.record.clone())
        });
        if let Some(record) = &known {
            let _changing = self.changing.lock();
            info.name.clone_from(&record.name);
            self.claim(&record.name, &file)?;
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
        let signed_by = self.signed(&bytes, &path_of_signature(path))?;
        let code = examine(&self.ground, &self.linker, &bytes, info)?;
        let examined = Examined {
            info: info.clone(),
            code,
            bytes,
            signed_by,
        };
        self.try_out(&examined)?;
        let _changing = self.changing.lock();
        self.claim(&examined.info.name, &file)?;
        let name = examined.info.name.clone();
        self.install(examined, &Origin::Folder { file: file.clone() }, true)
            .map_err(|error| error.to_string())?;
        self.attach(&name, &file, &digest);
        Ok(())
    }

    /// Returns an error if another file holds the plugin's name, because one plugin is one file.
    fn claim(&self, name: &str, file: &str) -> Result<(), String> {
        let holder = self.read(|table| {
            table
                .entries
                .get(name)?
                .file
                .as_ref()
                .map(|(holder, _)| holder.clone())
        });
        match holder.filter(|holder| holder != file && self.folder.has(holder)) {
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
                    entry.file = Some((file.to_owned(), digest.to_owned()));
                } else if entry.file.as_ref().is_some_and(|(known, _)| known == file) {
                    entry.file = None;
                }
            }
        });
    }

    /// Removes the versions that came from the folder, after their file is gone. Uploaded versions
    /// stay. If the live version was removed, the newest uploaded version goes live.
    pub(super) fn lose_file(&self, name: &str, why: &str) {
        let Some(mut record) = self.record(name) else {
            return;
        };
        record
            .versions
            .retain(|version| matches!(version.origin, Origin::Upload { .. }));
        let still_there = record
            .active
            .as_deref()
            .is_some_and(|active| record.version(active).is_some());
        let next = record.versions.last().map(|version| version.digest.clone());
        match next {
            Some(_) if still_there => {
                self.keep(&record);
                self.write(|table| {
                    if let Some(entry) = table.entries.get_mut(name) {
                        (entry.record, entry.file) = (record, None);
                    }
                });
            }
            Some(digest) => {
                self.write(|table| {
                    if let Some(entry) = table.entries.get_mut(name) {
                        (entry.record, entry.file) = (record, None);
                    }
                });
                if let Err(error) = self.activate(name, &digest) {
                    tracing::error!(plugin = name, %error, "no usable plugin version left");
                }
            }
            None => {
                if let Some(shelf) = &self.shelf
                    && let Err(error) = shelf.remove(name)
                {
                    tracing::error!(
                        plugin = name,
                        error,
                        "failed to delete plugin record; plugin returns at next start"
                    );
                }
                self.write(|table| table.entries.remove(name));
                self.moved();
            }
        }
        let digest = record_digest(self.record(name).as_ref());
        self.change(
            name,
            PluginChangeKind::Removed,
            "folder",
            None,
            json!({ "reason": why, "now_live": digest }),
        );
    }
}

fn record_digest(record: Option<&PluginRecord>) -> Option<String> {
    record.and_then(|record| record.active.clone())
}
