//! Sets the live version of a plugin: adds a version, or reverts to another one.

use std::path::Path;

use serde_json::json;

use super::table::{Entry, Live};
use super::views::PluginView;
use super::{Examined, ManageError, Registry, Trial};
use crate::inspect::{blank, examine};
use crate::record::PluginRecord;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Origin, PluginChangeKind, PluginKind, Version};

impl Registry {
    /// Inspects uploaded bytes. Stores nothing.
    pub(crate) fn examine(
        &self,
        bytes: Vec<u8>,
        signature: Option<&str>,
    ) -> Result<Examined, ManageError> {
        let most = self.ground.limits.max_component_bytes;
        if bytes.len() as u64 > most {
            let size = bytes.len();
            return Err(ManageError::Refused(format!(
                "it has {size} bytes, and at most {most} are taken; see `max_component_bytes`"
            )));
        }
        let mut info = blank(Path::new(""));
        let signed_by = self
            .check_signature(&bytes, signature)
            .map_err(ManageError::Refused)?;
        let code =
            examine(&self.ground, &self.linker, &bytes, &mut info).map_err(ManageError::Refused)?;
        Ok(Examined {
            info,
            code,
            bytes,
            signed_by,
        })
    }

    /// Sets the trial that versions must pass from now on.
    pub(crate) fn set_trial(&self, trial: Trial) {
        // The trial is set only once, at the start.
        let _ = self.trial.set(trial);
    }

    /// Runs the trial on a version, if there is a trial. The live version has passed it already.
    pub(crate) fn try_out(&self, examined: &Examined) -> Result<(), String> {
        let live = self
            .record(&examined.info.name)
            .and_then(|record| record.active);
        match self.trial.get() {
            Some(trial) if live.as_deref() != Some(examined.info.digest.as_str()) => {
                trial(examined)
            }
            _ => Ok(()),
        }
    }

    /// Returns the live plugins, sorted by name, with their bytes.
    pub(crate) fn live_bytes(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        let Some(shelf) = &self.shelf else {
            return Ok(vec![]);
        };
        let live: Vec<(String, String)> = self.read(|table| {
            let live = table.entries.values().filter(|entry| entry.live.is_some());
            live.filter_map(|entry| Some((entry.record.name.clone(), entry.record.active.clone()?)))
                .collect()
        });
        let most = self.ground.limits.max_component_bytes;
        live.into_iter()
            .map(|(name, digest)| Ok((name, shelf.bytes(&digest, most)?)))
            .collect()
    }

    /// Returns an error if the inspected version can't be added. The caller checks this before the
    /// addition is recorded.
    pub(crate) fn admits(&self, examined: &Examined) -> Result<(), ManageError> {
        let info = &examined.info;
        match self.record(&info.name) {
            Some(record) if Some(record.kind) != info.kind => Err(ManageError::Conflict(format!(
                "the name `{}` is taken by {} {}; give it another",
                info.name,
                if record.kind == PluginKind::Action {
                    "an"
                } else {
                    "a"
                },
                record.kind.as_str()
            ))),
            _ => Ok(()),
        }
    }

    /// Adds a version, and makes it live or leaves that to an admin.
    pub(crate) fn upload(
        &self,
        examined: Examined,
        origin: &Origin,
        live: bool,
    ) -> Result<(), ManageError> {
        let _changing = self.changing.lock();
        self.install(examined, origin, live)
    }

    pub(super) fn install(
        &self,
        examined: Examined,
        origin: &Origin,
        live: bool,
    ) -> Result<(), ManageError> {
        self.admits(&examined)?;
        let Examined {
            info,
            code,
            bytes,
            signed_by,
        } = examined;
        let name = info.name.clone();
        let kind = info
            .kind
            .ok_or_else(|| ManageError::Refused("it is not known what it is".to_owned()))?;
        let mut record = self
            .record(&name)
            .unwrap_or_else(|| PluginRecord::new(&name, kind));
        let known = record
            .versions
            .iter()
            .any(|version| version.digest == info.digest);
        let was = record.active.clone();
        if live {
            if was.as_deref() != Some(info.digest.as_str()) {
                record.quarantine = None;
                self.ground.stats.by_name(&name).begin();
            }
            record.active = Some(info.digest.clone());
        }
        let (at, by) = (now_ms(), origin.by());
        let version = Version {
            digest: info.digest.clone(),
            version: info.version.clone(),
            size: info.size,
            origin: origin.clone(),
            at,
            signed_by: signed_by.clone(),
        };
        if !known || matches!(origin, Origin::Upload { .. }) {
            record.add(version, self.keep_versions);
        }
        if let Some(shelf) = &self.shelf {
            let kept = shelf
                .put_bytes(&info.digest, &bytes)
                .and_then(|()| shelf.put_record(&record));
            match (kept, origin) {
                (Ok(()), _) => {}
                // The version can be loaded again from the folder.
                (Err(error), Origin::Folder { .. }) => {
                    tracing::error!(plugin = name, error, "failed to store plugin");
                }
                (Err(error), Origin::Upload { .. }) => return Err(ManageError::Store(error)),
            }
        }
        let digest = info.digest.clone();
        let (needs, version) = (info.needs.clone(), info.version.clone());
        self.write(|table| {
            let entry = table.entries.entry(name.clone()).or_insert_with(|| Entry {
                record: record.clone(),
                live: None,
                problem: None,
                file: None,
            });
            entry.record = record;
            if live {
                entry.live = Some(Live { info, code });
                entry.problem = None;
            }
        });
        if live && was.as_deref() != Some(digest.as_str()) || !known {
            let kind = if live {
                PluginChangeKind::Installed
            } else {
                PluginChangeKind::Stored
            };
            let detail = json!({
                "version": version, "before": was, "origin": origin, "signed_by": signed_by,
                "needs": needs.iter().map(|need| format!("{} of {}", need.operation, need.scope)).collect::<Vec<_>>(),
            });
            tracing::info!(
                plugin = name,
                plugin.digest = digest,
                version,
                live,
                by,
                "plugin version added"
            );
            self.change(&name, kind, &by, Some(digest), detail);
        }
        self.sweep();
        self.moved();
        Ok(())
    }

    /// Makes another version live: the version with the digest `to`, or without `to` the version
    /// before the live version.
    pub(crate) fn revert(
        &self,
        name: &str,
        to: Option<&str>,
        by: &str,
    ) -> Result<PluginView, ManageError> {
        let _changing = self.changing.lock();
        let record = self
            .record(name)
            .ok_or_else(|| ManageError::NotFound(name.to_owned()))?;
        let version = match to {
            Some(digest) => record.version(digest).ok_or_else(|| {
                ManageError::Conflict(format!(
                    "`{name}` has no version `{digest}`; there are {}",
                    record
                        .versions
                        .iter()
                        .map(|known| known.digest.get(..12).unwrap_or(""))
                        .collect::<Vec<_>>()
                        .join(", ")
                ))
            })?,
            None => record.previous().ok_or_else(|| {
                ManageError::Conflict(format!(
                    "`{name}` has no version before the one that is live"
                ))
            })?,
        };
        let (digest, before) = (version.digest.clone(), record.active.clone());
        self.activate(name, &digest)?;
        self.change(
            name,
            PluginChangeKind::Reverted,
            by,
            Some(digest),
            json!({ "before": before }),
        );
        self.view(name)
            .ok_or_else(|| ManageError::NotFound(name.to_owned()))
    }

    /// Makes a version of the repository live.
    pub(super) fn activate(&self, name: &str, digest: &str) -> Result<(), ManageError> {
        let mut record = self
            .record(name)
            .ok_or_else(|| ManageError::NotFound(name.to_owned()))?;
        let shelf = self.shelf.as_ref().ok_or_else(|| {
            ManageError::Conflict(
                "versions are not kept: no folder is configured for them (`plugins.store`)"
                    .to_owned(),
            )
        })?;
        let bytes = shelf
            .bytes(digest, self.ground.limits.max_component_bytes)
            .map_err(ManageError::Store)?;
        let mut info = blank(Path::new(""));
        let code =
            examine(&self.ground, &self.linker, &bytes, &mut info).map_err(ManageError::Refused)?;
        if record.active.as_deref() != Some(digest) {
            record.active = Some(digest.to_owned());
            record.quarantine = None;
            self.ground.stats.by_name(name).begin();
        }
        shelf.put_record(&record).map_err(ManageError::Store)?;
        self.write(|table| {
            if let Some(entry) = table.entries.get_mut(name) {
                entry.record = record;
                entry.live = Some(Live { info, code });
                entry.problem = None;
            }
        });
        self.moved();
        Ok(())
    }
}
