//! Sets the live version of a plugin: adds a version, or reverts to another one. Adds candidates.

use std::path::Path;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::table::{Entry, Live};
use super::views::PluginView;
use super::{Checked, Examined, ManageError, Registry, Trial};
use crate::compile::Turn;
use crate::inspect::examine;
use crate::plugin_info::{PluginInfo, blank};
use crate::record::PluginRecord;
use crate::text::one_line;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Approver, Origin, PluginChangeKind, PluginKind, Version};

impl Registry {
    /// Inspects uploaded bytes. Stores nothing. `uploader` is the sender, if that is someone who
    /// may not decide what runs.
    pub(crate) fn examine(
        &self,
        bytes: Vec<u8>,
        signature: Option<&str>,
        uploader: Option<&str>,
        cancel: &CancellationToken,
    ) -> Result<Examined, ManageError> {
        let most = self.runtime.limits.max_component_bytes;
        if bytes.len() as u64 > most {
            let size = bytes.len();
            return Err(ManageError::Refused(format!(
                "it has {size} bytes, and at most {most} are taken; see `max_component_bytes`"
            )));
        }
        if let Some(uploader) = uploader {
            self.bytes_left(uploader, 0)?;
        }
        let mut info = blank(Path::new(""));
        let signature = self
            .check_signature(&bytes, signature)
            .map_err(ManageError::Refused)?;
        let turn = Turn {
            uploader: uploader.is_some(),
            cancel,
        };
        let prepared = examine(&self.runtime, &self.linker, &bytes, &turn, &mut info)
            .map_err(ManageError::Refused)?;
        Ok(Examined {
            checked: Checked {
                info,
                bytes,
                signature,
            },
            prepared,
        })
    }

    /// Sets the trial that versions must pass from now on.
    pub(crate) fn set_trial(&self, trial: Trial) {
        // The trial is set only once, at the start.
        let _ = self.trial.set(trial);
    }

    /// Runs the trial on a version, if there is a trial. The live version has passed it already. A
    /// version that fails leaves no compiled code behind.
    pub(crate) fn try_out(&self, examined: &Examined) -> Result<(), String> {
        let info = examined.info();
        let digest = info.digest.as_str();
        let live = self.record(&info.name).and_then(|record| record.active);
        let Some(trial) = self.trial.get().filter(|_| live.as_deref() != Some(digest)) else {
            return Ok(());
        };
        let (compiler, engine) = (&self.runtime.compiler, &self.runtime.engine);
        let was_known = compiler.knows(engine, digest);
        trial(examined).inspect_err(|_| {
            if !was_known {
                self.forget_code(&info.name, digest);
            }
        })
    }

    /// Removes the compiled code of a version that was refused after all, unless an equal upload
    /// made the version live meanwhile.
    fn forget_code(&self, name: &str, digest: &str) {
        let live = self.record(name).and_then(|record| record.active);
        if live.as_deref() != Some(digest) {
            self.runtime.compiler.forget(&self.runtime.engine, digest);
        }
    }

    /// Returns the live plugins, sorted by name, with their bytes.
    pub(crate) fn live_bytes(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        let Some(repository) = &self.repository else {
            return Ok(vec![]);
        };
        let live: Vec<(String, String)> = self.read(|table| {
            let live = table.entries.values().filter(|entry| entry.live.is_some());
            live.filter_map(|entry| Some((entry.record.name.clone(), entry.record.active.clone()?)))
                .collect()
        });
        let most = self.runtime.limits.max_component_bytes;
        live.into_iter()
            .map(|(name, digest)| Ok((name, repository.bytes(&digest, most)?)))
            .collect()
    }

    /// Returns an error if the inspected version can't be added. The caller checks this before the
    /// addition is recorded. A version that goes live takes its name from candidates of another
    /// kind.
    pub(crate) fn admits(&self, examined: &Examined, live: bool) -> Result<(), ManageError> {
        let info = examined.info();
        match self.record(&info.name) {
            Some(record) if live && record.is_proposal() => Ok(()),
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

    /// Adds a version. A version that is not to be live is a candidate, which an admin can make
    /// live.
    pub(crate) fn upload(
        &self,
        examined: Examined,
        origin: &Origin,
        live: bool,
    ) -> Result<(), ManageError> {
        let _changing = self.changing.lock();
        let added = match live {
            true => self.install(examined, origin, true),
            false => self.add_candidate(&examined, origin),
        };
        // A version that could not be added leaves nothing behind.
        self.sweep();
        added
    }

    /// Adds a candidate. Changes nothing if the version is known: neither its origin, nor its time,
    /// nor its place in the order.
    fn add_candidate(&self, examined: &Examined, origin: &Origin) -> Result<(), ManageError> {
        self.admits(examined, false)?;
        let checked = &examined.checked;
        let (info, by) = (&checked.info, origin.by());
        let mut record = self.record_of(info)?;
        if record.exact(&info.digest).is_some() {
            return Ok(());
        }
        if let Some(replaced) = self.room_for_candidate(info, &by, &record)? {
            record.forget(&replaced);
        }
        self.room_in_store(info).map_err(ManageError::Quota)?;
        record.add(version_of(checked, origin, None), self.keep_versions);
        self.store(checked, &record).map_err(ManageError::Store)?;
        let before = record.active.clone();
        self.write(|table| match table.entries.get_mut(&info.name) {
            Some(entry) => entry.record = record,
            None => drop(table.entries.insert(info.name.clone(), Entry::of(record))),
        });
        self.report_addition(PluginChangeKind::Stored, checked, origin, before.as_deref());
        self.moved();
        Ok(())
    }

    /// Adds a version, and makes it live if `live` is true. The caller holds `changing`, and
    /// `origin` is then someone who may decide what runs.
    pub(super) fn install(
        &self,
        examined: Examined,
        origin: &Origin,
        live: bool,
    ) -> Result<(), ManageError> {
        if !live {
            return self.add_candidate(&examined, origin);
        }
        self.admits(&examined, true)?;
        let Examined { checked, prepared } = examined;
        let info = checked.info.clone();
        let (name, approver) = (info.name.clone(), Approver::of(origin));
        let mut record = self.record_of(&info)?;
        let was = record.active.clone();
        let is_other = was.as_deref() != Some(info.digest.as_str());
        // Someone who may not decide what runs may have sent the same bytes before.
        let approved = record.approved(&info.digest);
        let is_known = approved.is_some();
        let was_upload =
            approved.is_some_and(|known| matches!(known.origin, Origin::Upload { .. }));
        // A second upload of the live version changes nothing. An upload of a version of the folder
        // outlives its file.
        let is_news = is_other || !was_upload;
        if !is_known || is_news && matches!(origin, Origin::Upload { .. }) {
            let version = version_of(&checked, origin, Some(approver.clone()));
            record.add(version, self.keep_versions);
        } else if let Some(signature) = &checked.signature {
            record.sign(&info.digest, &signature.signer);
        }
        record.go_live(&info.digest, &approver);
        if is_other {
            record.quarantine = None;
        }
        let is_fresh = prepared.is_fresh();
        let code = prepared
            .open(&self.runtime, &self.linker, &checked.bytes, &info)
            .map_err(ManageError::Refused)?;
        let stored = self
            .room_in_store(&info)
            .map_err(ManageError::Quota)
            .and_then(|()| self.store(&checked, &record).map_err(ManageError::Store));
        match (stored, origin) {
            (Ok(()), _) => {}
            // The version can be loaded again from the folder.
            (Err(error), Origin::Folder { .. }) => {
                tracing::error!(plugin = name, %error, "failed to store plugin");
            }
            (Err(error), Origin::Upload { .. }) => {
                if is_fresh {
                    self.forget_code(&name, &info.digest);
                }
                return Err(error);
            }
        }
        self.write(|table| {
            let new = || Entry::of(record.clone());
            let entry = table.entries.entry(name.clone()).or_insert_with(new);
            (entry.record, entry.problem) = (record, None);
            entry.live = Some(Live { info, code });
        });
        if is_other {
            self.runtime.stats.of(&name.as_str().into()).begin();
        }
        if is_other || !is_known {
            self.report_addition(
                PluginChangeKind::Installed,
                &checked,
                origin,
                was.as_deref(),
            );
        }
        self.sweep();
        self.moved();
        Ok(())
    }

    /// Returns the record of a plugin, or a new one. Candidates of another kind are dropped.
    fn record_of(&self, info: &PluginInfo) -> Result<PluginRecord, ManageError> {
        let kind = info
            .kind
            .ok_or_else(|| ManageError::Refused("it is not known what it is".to_owned()))?;
        let known = self.record(&info.name);
        let known = known.filter(|record| record.kind == kind);
        Ok(known.unwrap_or_else(|| PluginRecord::new(&info.name, kind)))
    }

    /// Stores the bytes, the signature and the record of a version.
    fn store(&self, checked: &Checked, record: &PluginRecord) -> Result<(), String> {
        let Some(repository) = &self.repository else {
            return Ok(());
        };
        let digest = &checked.info.digest;
        repository.put_bytes(digest, &checked.bytes)?;
        if let Some(signature) = &checked.signature {
            repository.put_signature(digest, &signature.text)?;
        }
        repository.put_record(record)
    }

    /// Logs and queues the addition of a version.
    fn report_addition(
        &self,
        kind: PluginChangeKind,
        checked: &Checked,
        origin: &Origin,
        before: Option<&str>,
    ) {
        let info = &checked.info;
        let (name, by) = (info.name.as_str(), origin.by());
        let needs = info.needs.iter();
        let needs = needs.map(|need| format!("{} of {}", need.operation, need.scope));
        let detail = json!({
            "version": info.version, "before": before, "origin": origin,
            "signed_by": checked.signature.as_ref().map(|signature| &signature.signer),
            "needs": needs.collect::<Vec<_>>(),
        });
        tracing::info!(
            plugin = name,
            plugin.digest = info.digest,
            version = info.version,
            live = kind == PluginChangeKind::Installed,
            by,
            "plugin version added"
        );
        self.change(name, kind, &by, Some(info.digest.clone()), detail);
    }

    /// Makes another version live: the version with the digest `to`, or without `to` the version
    /// that was live before the live version.
    pub(crate) fn revert(
        &self,
        name: &str,
        to: Option<&str>,
        by: &str,
        cancel: &CancellationToken,
    ) -> Result<PluginView, ManageError> {
        let record = self
            .record(name)
            .ok_or_else(|| ManageError::NotFound(name.to_owned()))?;
        let digest = version_to_revert_to(&record, to)?.digest.clone();
        let turn = Turn {
            uploader: false,
            cancel,
        };
        // The compilation may take minutes. Other changes go on meanwhile.
        let examined = self.examine_stored(name, &digest, &turn)?;
        if record
            .candidates()
            .any(|candidate| candidate.digest == digest)
        {
            self.try_out(&examined).map_err(ManageError::Refused)?;
        }
        let live = self.open_examined(examined)?;
        let _changing = self.changing.lock();
        let mut record = self
            .record(name)
            .filter(|record| record.exact(&digest).is_some())
            .ok_or_else(|| ManageError::Conflict(format!("`{name}` was changed meanwhile")))?;
        let before = record.active.clone();
        match to {
            Some(_) => record.go_live(&digest, &Approver::Admin { by: by.to_owned() }),
            None => record.go_back(&digest),
        }
        let is_other = before.as_deref() != Some(digest.as_str());
        if is_other {
            record.quarantine = None;
        }
        if let Some(repository) = &self.repository {
            repository.put_record(&record).map_err(ManageError::Store)?;
        }
        if is_other {
            self.runtime.stats.of(&name.into()).begin();
        }
        self.write(|table| {
            if let Some(entry) = table.entries.get_mut(name) {
                entry.record = record;
                entry.live = Some(live);
                entry.problem = None;
            }
        });
        self.moved();
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
}

/// Returns the version with the digest `to`, or the previous version.
fn version_to_revert_to<'r>(
    record: &'r PluginRecord,
    to: Option<&str>,
) -> Result<&'r Version, ManageError> {
    let name = &record.name;
    match to {
        Some(digest) => record.version(digest).ok_or_else(|| {
            let known = record.versions.iter();
            let known = known.map(|known| known.digest.get(..12).unwrap_or(""));
            ManageError::Conflict(format!(
                "`{name}` has no version `{}`; there are {}",
                one_line(digest, 80),
                known.collect::<Vec<_>>().join(", ")
            ))
        }),
        None => record.previous().ok_or_else(|| {
            ManageError::Conflict(format!(
                "`{name}` has no version before the one that is live; name another one by its digest"
            ))
        }),
    }
}

/// Returns the record of an examined version.
fn version_of(checked: &Checked, origin: &Origin, approved_by: Option<Approver>) -> Version {
    let (info, signature) = (&checked.info, checked.signature.as_ref());
    Version {
        digest: info.digest.clone(),
        version: info.version.clone(),
        size: info.size,
        origin: origin.clone(),
        at: now_ms(),
        signed_by: signature.map(|signature| signature.signer.clone()),
        approved_by,
    }
}
