//! Answers queries about the plugins. Readers never wait for a disk.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Registry;
use super::table::Entry;
use crate::action::Action;
use crate::detector::Detector;
use crate::inspect::Code;
use crate::plugin_info::{PluginInfo, blank};
use crate::record::{PluginRecord, Quarantine};
use crate::stats::{CallTimes, PluginStats};
use anomalyzer_domain::{Allowance, Approver, Mode, PluginKind, Version};

/// Full view of one plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginView {
    /// Known facts about the live version, or about a file that is not a plugin.
    #[serde(flatten)]
    pub info: PluginInfo,
    /// Mode, which limits the plugin's autonomy.
    pub mode: Mode,
    /// Grants that were set at run time. None stands for the grants of the configuration.
    pub grants: Option<Vec<Allowance>>,
    /// Quarantine that keeps the plugin from being opened.
    pub quarantine: Option<Quarantine>,
    /// Stored versions, oldest first. A version without an approver is a candidate.
    pub versions: Vec<Version>,
    /// Statistics since the start, or since the live version became live.
    pub stats: PluginStats,
}

impl PluginView {
    /// Returns true if a person or the plugin folder is on record as the approver of the live
    /// version.
    pub fn has_known_approver(&self) -> bool {
        let live = self
            .versions
            .iter()
            .find(|version| version.digest == self.info.digest);
        live.and_then(|live| live.approved_by.as_ref())
            .is_some_and(|approver| *approver != Approver::EarlierRelease)
    }
}

/// Live plugin, for `/metrics`.
#[derive(Clone, Debug, Default)]
pub struct LivePlugin {
    /// Name of the plugin.
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// Statistics of the plugin.
    pub stats: PluginStats,
    /// Times of the plugin's calls.
    pub times: CallTimes,
}

impl Registry {
    pub(crate) fn detector(&self, name: &str) -> Option<Arc<Detector>> {
        self.read(
            |table| match &table.entries.get(name)?.live.as_ref()?.code {
                Code::Detector(detector) => Some(Arc::clone(detector)),
                Code::Action(_) => None,
            },
        )
    }

    pub(crate) fn action(&self, name: &str) -> Option<Arc<Action>> {
        self.read(
            |table| match &table.entries.get(name)?.live.as_ref()?.code {
                Code::Action(action) => Some(Arc::clone(action)),
                Code::Detector(_) => None,
            },
        )
    }

    pub(crate) fn record(&self, name: &str) -> Option<PluginRecord> {
        self.read(|table| table.entries.get(name).map(|entry| entry.record.clone()))
    }

    pub(crate) fn count(&self, kind: PluginKind) -> usize {
        self.read(|table| {
            let live = |entry: &&Entry| entry.live.is_some() && entry.record.kind == kind;
            table.entries.values().filter(live).count()
        })
    }

    /// Returns the declared needs of the live version, as (operation, scope).
    pub(crate) fn needs(&self, name: &str) -> Vec<(String, String)> {
        self.read(|table| {
            let live = table
                .entries
                .get(name)
                .and_then(|entry| entry.live.as_ref());
            let needs = live.into_iter().flat_map(|live| &live.info.needs);
            needs
                .map(|need| (need.operation.clone(), need.scope.clone()))
                .collect()
        })
    }

    pub(crate) fn live(&self) -> Vec<LivePlugin> {
        let live = |entry: &Entry| {
            let info = &entry.live.as_ref()?.info;
            let stats = self.runtime.stats.of(&info.name.as_str().into());
            let (name, version) = (info.name.clone(), info.version.clone());
            Some(LivePlugin {
                name,
                version,
                stats: stats.snapshot(),
                times: stats.times(),
            })
        };
        self.read(|table| table.entries.values().filter_map(live).collect())
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// Returns the reasons why plugins can't be used now, sorted by the name of the file and then
    /// by the name of the plugin.
    pub(crate) fn problems(&self) -> Vec<String> {
        let is_loading = self.loading() > 0;
        self.read(|table| {
            let plugins = table.entries.values().map(|entry| {
                let why = entry.of_no_use(is_loading);
                (entry.file(), entry.record.name.as_str(), why)
            });
            let broken = table
                .broken
                .values()
                .map(|info| (info.file.as_str(), info.name.as_str(), info.error.clone()));
            let mut problems: Vec<_> = plugins
                .chain(broken)
                .filter_map(|(file, name, why)| Some((file, name, why?)))
                .collect();
            problems.sort();
            problems.into_iter().map(|(_, _, why)| why).collect()
        })
    }

    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Returns all plugins, sorted by the name of the file and then by the name of the plugin.
    pub(crate) fn views(&self) -> Vec<PluginView> {
        let mut views: Vec<PluginView> = self.read(|table| {
            let broken = table.broken.values().map(|info| PluginView {
                info: info.clone(),
                mode: Mode::default(),
                grants: None,
                quarantine: None,
                versions: Vec::new(),
                stats: PluginStats::default(),
            });
            table
                .entries
                .values()
                .map(|entry| self.view_of(entry))
                .chain(broken)
                .collect()
        });
        views.sort_by(|a, b| (&a.info.file, &a.info.name).cmp(&(&b.info.file, &b.info.name)));
        views
    }

    pub(crate) fn view(&self, name: &str) -> Option<PluginView> {
        self.read(|table| table.entries.get(name).map(|entry| self.view_of(entry)))
    }

    fn view_of(&self, entry: &Entry) -> PluginView {
        let record = &entry.record;
        let mut info = match &entry.live {
            Some(live) => live.info.clone(),
            None => PluginInfo {
                name: record.name.clone(),
                kind: Some(record.kind),
                digest: record.active.clone().unwrap_or_default(),
                error: entry.error(self.loading() > 0),
                ..blank(Path::new(""))
            },
        };
        info.file = entry.file().to_owned();
        PluginView {
            info,
            mode: record.mode,
            grants: record.grants.clone(),
            quarantine: record.quarantine.clone(),
            versions: record.versions.clone(),
            stats: self
                .runtime
                .stats
                .by_name(&record.name)
                .map_or_else(PluginStats::default, |stats| stats.snapshot()),
        }
    }
}
