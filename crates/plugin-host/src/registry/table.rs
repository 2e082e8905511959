//! Holds the state of each plugin in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::inspect::Code;
use crate::plugin_info::PluginInfo;
use crate::record::PluginRecord;

/// Plugin that is not loaded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// File in the plugin folder.
    File(PathBuf),
    /// Live version in the repository, by the name of its plugin.
    Stored(String),
}

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
    /// Returns the entry of a plugin of which no version is loaded.
    pub(super) fn of(record: PluginRecord) -> Self {
        Self {
            record,
            live: None,
            problem: None,
            file: None,
        }
    }

    pub(super) fn file(&self) -> &str {
        self.file
            .as_ref()
            .map(|(file, _)| file.as_str())
            .unwrap_or_default()
    }

    /// Returns the reason why no version of the plugin can be opened.
    pub(super) fn error(&self, is_loading: bool) -> Option<String> {
        if self.live.is_some() {
            return None;
        }
        let nothing = match (&self.record.active, is_loading) {
            (None, _) => "no version of it is live: an admin must approve one",
            (Some(_), true) => "it is still loading",
            (Some(_), false) => "no version of it is live",
        };
        self.problem.clone().or_else(|| Some(nothing.to_owned()))
    }

    /// Returns the reason why the plugin is not opened now, although a version of it was approved.
    /// Nobody waits for a plugin of which there are only candidates, and for a plugin that is still
    /// loading.
    pub(super) fn of_no_use(&self, is_loading: bool) -> Option<String> {
        let quarantined = || {
            let reason = &self.record.quarantine.as_ref()?.reason;
            Some(format!("{} is quarantined: {reason}", self.record.name))
        };
        let idle = self.problem.is_none() && (is_loading || self.record.active.is_none());
        match self.live.is_none() && idle {
            true => None,
            false => self.error(is_loading).or_else(quarantined),
        }
    }
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<String, Entry>,
    /// Files that can't be used, by name.
    pub(super) broken: BTreeMap<String, PluginInfo>,
    /// Names of the plugins whose record an earlier release wrote.
    pub(super) upgraded: BTreeSet<String>,
}
