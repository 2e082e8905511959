//! What is known of each plugin in memory.

use std::collections::BTreeMap;

use crate::plugin::examine::{Code, PluginInfo};
use crate::plugin::record::PluginRecord;

pub(super) struct Live {
    pub(super) info: PluginInfo,
    pub(super) code: Code,
}

pub(super) struct Entry {
    pub(super) record: PluginRecord,
    pub(super) live: Option<Live>,
    /// Why the version that should be live can't be.
    pub(super) problem: Option<String>,
    /// The file in the folder that carries one of its versions, and which.
    pub(super) file: Option<(String, String)>,
}

impl Entry {
    pub(super) fn file(&self) -> &str {
        self.file
            .as_ref()
            .map(|(file, _)| file.as_str())
            .unwrap_or_default()
    }

    /// Why no version of it can be opened.
    pub(super) fn error(&self) -> Option<String> {
        match &self.live {
            Some(live) => live.info.error.clone(),
            None => self
                .problem
                .clone()
                .or_else(|| Some("no version of it is live".to_owned())),
        }
    }

    /// Why it is not opened now.
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
    /// Files that can't be used.
    pub(super) broken: BTreeMap<String, PluginInfo>,
}
