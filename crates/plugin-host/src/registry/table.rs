//! Holds the state of each plugin in memory.

use std::collections::BTreeMap;

use crate::inspect::{Code, PluginInfo};
use crate::record::PluginRecord;

pub(super) struct Live {
    pub(super) info: PluginInfo,
    pub(super) code: Code,
}

pub(super) struct Entry {
    pub(super) record: PluginRecord,
    pub(super) live: Option<Live>,
    /// Reason why the version that should be live can't be used.
    pub(super) problem: Option<String>,
    /// File in the folder that carries one of its versions, and the digest of that version.
    pub(super) file: Option<(String, String)>,
}

impl Entry {
    pub(super) fn file(&self) -> &str {
        self.file
            .as_ref()
            .map(|(file, _)| file.as_str())
            .unwrap_or_default()
    }

    /// Returns the reason why no version of the plugin can be opened.
    pub(super) fn error(&self) -> Option<String> {
        match &self.live {
            Some(live) => live.info.error.clone(),
            None => self
                .problem
                .clone()
                .or_else(|| Some("no version of it is live".to_owned())),
        }
    }

    /// Returns the reason why the plugin is not opened now.
    pub(super) fn of_no_use(&self) -> Option<String> {
        let quarantined = || {
            let reason = &self.record.quarantine.as_ref()?.reason;
            Some(format!("{} is quarantined: {reason}", self.record.name))
        };
        self.error().or_else(quarantined)
    }
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<String, Entry>,
    /// Files that can't be used, by name.
    pub(super) broken: BTreeMap<String, PluginInfo>,
}
