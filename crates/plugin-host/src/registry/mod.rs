//! Keeps the plugins, the live version of each, and every change to them.

mod changes;
mod files;
mod quota;
mod self_lift;
mod settings;
mod signatures;
mod start;
mod table;
mod versions;
mod views;

use parking_lot::{Mutex, RwLock};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use wasmtime::component::Linker;

use super::config::{CandidateQuota, PluginConfig};
use super::error::PluginError;
use super::folder::Folder;
use super::inspect::Prepared;
use super::linker;
use super::plugin_info::PluginInfo;
use super::repository::PluginRepository;
use super::runtime::Runtime;
use super::sandbox::State;
use super::signature::TrustedKey;
use anomalyzer_domain::PluginChange;

pub use table::Pending;
pub use views::{LivePlugin, PluginView};

use table::Table;

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
    /// A quota is used up.
    #[error("{0}")]
    Quota(String),
    /// The disk failed.
    #[error("the plugin can't be kept: {0}")]
    Store(String),
}

/// Bytes of a plugin that passed every check, but are not live yet.
pub struct Examined {
    checked: Checked,
    prepared: Prepared,
}

/// Bytes that passed every check, and the known facts about them.
struct Checked {
    info: PluginInfo,
    bytes: Vec<u8>,
    signature: Option<Signature>,
}

/// Signature that was checked, with the name of its signer.
struct Signature {
    text: String,
    signer: String,
}

impl Examined {
    /// Returns the known facts about the plugin.
    pub fn info(&self) -> &PluginInfo {
        &self.checked.info
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.checked.bytes
    }
}

/// Trial that a version must pass before it may replace another version. Its error is the reason
/// for the refusal. It takes long.
pub type Trial = Box<dyn Fn(&Examined) -> Result<(), String> + Send + Sync>;

/// Registry of the plugins. A writer holds `changing`. Readers never wait for a disk.
pub(super) struct Registry {
    runtime: Arc<Runtime>,
    linker: Linker<State>,
    folder: Folder,
    repository: Option<PluginRepository>,
    require_signature: bool,
    keep_versions: usize,
    quota: CandidateQuota,
    store_bytes: u64,
    trusted: Vec<TrustedKey>,
    trusted_folder: Option<std::path::PathBuf>,
    table: RwLock<Table>,
    changing: Mutex<()>,
    generation: watch::Sender<u64>,
    changes: Mutex<Vec<PluginChange>>,
    /// Reason why the folder or the repository can't be read as a whole.
    problem: Mutex<Option<String>>,
    trial: OnceLock<Trial>,
    /// Plugins to load at the start.
    pending: Mutex<Vec<Pending>>,
    /// Number of plugins that are not loaded yet, including one for the end of the start.
    loading: watch::Sender<usize>,
    /// Trusted keys at the last poll.
    keys_seen: Mutex<Vec<TrustedKey>>,
    /// Names of plugins whose quarantine could not be stored yet.
    unsaved: Mutex<BTreeSet<String>>,
    /// True if the last attempt to store a quarantine failed.
    quarantine_fails: AtomicBool,
}

impl Registry {
    /// Reads the records of the repository and the names of the files in the folder. Loads no
    /// plugin; see [`Registry::take_pending`].
    pub(super) fn open(runtime: &Arc<Runtime>, config: &PluginConfig) -> Result<Self, PluginError> {
        let unable = |reason: String| PluginError::Runtime(reason);
        let registry = Self {
            runtime: Arc::clone(runtime),
            linker: linker::linker(&runtime.engine)
                .map_err(|error| PluginError::Runtime(format!("{error:#}")))?,
            folder: Folder::new(&config.folder),
            repository: config
                .store
                .as_deref()
                .map(PluginRepository::open)
                .transpose()
                .map_err(unable)?,
            require_signature: config.require_signature,
            keep_versions: config.keep_versions,
            quota: config.candidates,
            store_bytes: config.store_bytes,
            trusted: config.trusted.clone(),
            trusted_folder: config.store.as_ref().map(|store| store.join("trusted")),
            table: RwLock::default(),
            changing: Mutex::default(),
            generation: watch::Sender::new(0),
            changes: Mutex::default(),
            problem: Mutex::default(),
            trial: OnceLock::new(),
            pending: Mutex::default(),
            loading: watch::Sender::new(0),
            keys_seen: Mutex::default(),
            unsaved: Mutex::default(),
            quarantine_fails: AtomicBool::new(false),
        };
        *registry.keys_seen.lock() = registry.trusted_keys().map_err(unable)?;
        if let Some(repository) = &registry.repository {
            let (records, broken) = repository.records().map_err(unable)?;
            *registry.problem.lock() = broken.into_iter().next();
            for record in records {
                registry.adopt(record);
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
        registry.begin(look.due);
        Ok(registry)
    }

    fn read<R>(&self, look: impl FnOnce(&Table) -> R) -> R {
        look(&self.table.read())
    }

    fn write<R>(&self, change: impl FnOnce(&mut Table) -> R) -> R {
        change(&mut self.table.write())
    }
}
