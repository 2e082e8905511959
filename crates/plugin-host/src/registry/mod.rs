//! Keeps the plugins, the live version of each, and every change to them.

mod changes;
mod files;
mod self_lift;
mod settings;
mod signatures;
mod table;
mod versions;
mod views;

use parking_lot::{Mutex, RwLock};
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use wasmtime::component::Linker;

use super::config::PluginConfig;
use super::error::PluginError;
use super::folder::Folder;
use super::inspect::{Code, PluginInfo};
use super::linker;
use super::record::PluginRecord;
use super::repository::PluginRepository;
use super::runtime::Runtime;
use super::sandbox::State;
use super::signature::TrustedKey;
use anomalyzer_domain::{Origin, PluginChange, Version};

pub use views::{LivePlugin, PluginView};

use table::{Entry, Table};

/// Reason why a plugin could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManageError {
    /// There is no plugin of that name.
    #[error("there is no plugin `{0}`")]
    NotFound(String),
    /// The bytes are not a plugin that this host accepts.
    #[error("{0}")]
    Refused(String),
    /// The change conflicts with the current state.
    #[error("{0}")]
    Conflict(String),
    /// The disk failed.
    #[error("the plugin can't be kept: {0}")]
    Store(String),
}

/// Bytes of a plugin that passed every check, but are not live yet.
pub struct Examined {
    info: PluginInfo,
    code: Code,
    bytes: Vec<u8>,
    signed_by: Option<String>,
}

impl Examined {
    /// Returns the known facts about the plugin.
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Trial that a version must pass before it may replace another version. Its error is the reason
/// for the refusal. It takes long.
pub type Trial = Box<dyn Fn(&Examined) -> Result<(), String> + Send + Sync>;

/// Registry of the plugins. A writer holds `changing`. Readers never wait for a disk.
pub(super) struct Registry {
    ground: Arc<Runtime>,
    linker: Linker<State>,
    folder: Folder,
    shelf: Option<PluginRepository>,
    require_signature: bool,
    keep_versions: usize,
    trusted: Vec<TrustedKey>,
    trusted_folder: Option<std::path::PathBuf>,
    table: RwLock<Table>,
    changing: Mutex<()>,
    generation: watch::Sender<u64>,
    changes: Mutex<Vec<PluginChange>>,
    /// Reason why the folder or the repository can't be read as a whole.
    problem: Mutex<Option<String>>,
    trial: OnceLock<Trial>,
}

impl Registry {
    /// Loads the plugins of the repository and of the folder.
    pub(super) fn load(ground: &Arc<Runtime>, config: &PluginConfig) -> Result<Self, PluginError> {
        let runtime = |reason: String| PluginError::Runtime(reason);
        let registry = Self {
            ground: Arc::clone(ground),
            linker: linker::linker(&ground.engine)
                .map_err(|error| PluginError::Runtime(format!("{error:#}")))?,
            folder: Folder::new(&config.folder),
            shelf: config
                .store
                .as_deref()
                .map(PluginRepository::open)
                .transpose()
                .map_err(runtime)?,
            require_signature: config.require_signature,
            keep_versions: config.keep_versions,
            trusted: config.trusted.clone(),
            trusted_folder: config.store.as_ref().map(|store| store.join("trusted")),
            table: RwLock::default(),
            changing: Mutex::default(),
            generation: watch::Sender::new(0),
            changes: Mutex::default(),
            problem: Mutex::default(),
            trial: OnceLock::new(),
        };
        registry.trusted_keys().map_err(runtime)?;
        if let Some(shelf) = &registry.shelf {
            let (records, broken) = shelf.records().map_err(runtime)?;
            *registry.problem.lock() = broken.into_iter().next();
            for record in records {
                let stats = registry.ground.stats.by_name(&record.name);
                stats.set_given_up(
                    record
                        .quarantine
                        .as_ref()
                        .map(|quarantine| quarantine.reason.clone()),
                );
                let entry = Entry {
                    record,
                    live: None,
                    problem: None,
                    file: None,
                };
                registry.write(|table| table.entries.insert(entry.record.name.clone(), entry));
            }
        }
        let folder = config.folder.clone();
        let look = registry
            .folder
            .look(true)
            .map_err(|error| PluginError::Folder {
                folder,
                reason: error.to_string(),
            })?;
        for path in look.due {
            registry.take_file(&path, true);
        }
        registry.settle_after_start();
        Ok(registry)
    }

    fn read<R>(&self, look: impl FnOnce(&Table) -> R) -> R {
        look(&self.table.read())
    }

    fn write<R>(&self, change: impl FnOnce(&mut Table) -> R) -> R {
        change(&mut self.table.write())
    }

    /// Removes the versions whose file left the folder between two starts. Loads live versions
    /// without a file from the repository.
    fn settle_after_start(&self) {
        let without: Vec<PluginRecord> = self.read(|table| {
            let live = |entry: &&Entry| entry.live.is_none() && entry.problem.is_none();
            table
                .entries
                .values()
                .filter(live)
                .map(|entry| entry.record.clone())
                .collect()
        });
        for record in without {
            let has_file = self.read(|table| {
                table
                    .entries
                    .get(&record.name)
                    .is_some_and(|entry| entry.file.is_some())
            });
            let uploaded = |version: &Version| matches!(version.origin, Origin::Upload { .. });
            let active = record
                .active
                .as_deref()
                .and_then(|digest| record.version(digest));
            if !has_file && !active.is_some_and(uploaded) {
                self.lose_file(&record.name, "its file is gone since the last start");
            } else if let Some(active) = active {
                let told = self.activate(&record.name, &active.digest.clone());
                if let Err(error) = told {
                    tracing::error!(plugin = record.name, %error, "failed to load live plugin version");
                    self.write(|table| {
                        if let Some(entry) = table.entries.get_mut(&record.name) {
                            entry.problem = Some(error.to_string());
                        }
                    });
                }
            }
        }
        self.sweep();
    }
}
