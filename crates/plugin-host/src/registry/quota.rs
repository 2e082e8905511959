//! Bounds of uploads: candidates of each uploader by plugin and in all, and the repository as a
//! whole. The candidates of one uploader take nothing from another one, except for the bytes in
//! all.

use std::collections::HashMap;

use super::{ManageError, Registry};
use crate::plugin_info::PluginInfo;
use crate::record::PluginRecord;

/// Part of the repository that all candidates together may take.
const CANDIDATES_SHARE: u64 = 2;

impl Registry {
    /// Returns the digest of the candidate that makes room for another candidate of the uploader,
    /// if one must.
    ///
    /// # Errors
    /// Returns an error if a quota is used up.
    pub(super) fn room_for_candidate(
        &self,
        info: &PluginInfo,
        uploader: &str,
        record: &PluginRecord,
    ) -> Result<Option<String>, ManageError> {
        let quota = &self.quota;
        let own = record.candidates_of(uploader).count();
        let is_new = own == 0;
        let is_full = own >= quota.per_plugin.max(1);
        let replaced = record.candidates_of(uploader).next().filter(|_| is_full);
        let plugins = self.read(|table| {
            let records = table.entries.values().map(|entry| &entry.record);
            records
                .filter(|record| record.candidates_of(uploader).next().is_some())
                .count()
        });
        if is_new && plugins >= quota.plugins_per_uploader {
            return Err(ManageError::Quota(format!(
                "`{uploader}` has versions of {plugins} plugins that wait for an admin, and may have no more \
                 ([plugins.candidates] plugins_per_uploader)"
            )));
        }
        let freed = replaced.map_or(0, |version| version.size);
        self.bytes_left(uploader, info.size.saturating_sub(freed))?;
        Ok(replaced.map(|version| version.digest.clone()))
    }

    /// Returns an error if `size` more bytes of candidates are too many.
    pub(super) fn bytes_left(&self, uploader: &str, size: u64) -> Result<(), ManageError> {
        let (own, all) = self.read(|table| {
            let (mut own, mut all) = (size, size);
            for entry in table.entries.values() {
                let of = entry.record.candidates_of(uploader);
                own += of.map(|version| version.size).sum::<u64>();
                all += entry.record.candidates().map(|it| it.size).sum::<u64>();
            }
            (own, all)
        });
        let most = self.quota.bytes_per_uploader;
        if own > most {
            return Err(ManageError::Quota(format!(
                "versions of `{uploader}` that wait for an admin would take {own} bytes, and may take {most} \
                 ([plugins.candidates] bytes_per_uploader)"
            )));
        }
        let most = self.store_bytes / CANDIDATES_SHARE;
        if all > most {
            return Err(ManageError::Quota(format!(
                "all versions that wait for an admin would take {all} bytes, and may take {most}, half of \
                 [plugins] store_bytes; ask an admin to remove some"
            )));
        }
        Ok(())
    }

    /// Returns an error if the repository has no room for the bytes of a version.
    pub(super) fn room_in_store(&self, info: &PluginInfo) -> Result<(), String> {
        let mut stored = self.stored();
        stored.insert(info.digest.clone(), info.size);
        let (needed, most) = (stored.values().sum::<u64>(), self.store_bytes);
        if needed > most {
            return Err(format!(
                "all versions would take {needed} bytes, and may take {most}; remove plugins, or raise [plugins] \
                 store_bytes"
            ));
        }
        Ok(())
    }

    /// Returns the size of all stored versions, in bytes.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored().values().sum()
    }

    /// Returns the sizes of the stored versions by digest.
    fn stored(&self) -> HashMap<String, u64> {
        self.read(|table| {
            let entries = table.entries.values();
            let versions = entries.flat_map(|entry| &entry.record.versions);
            versions
                .map(|version| (version.digest.clone(), version.size))
                .collect()
        })
    }
}
