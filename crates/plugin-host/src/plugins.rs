//! Facade of the crate: the plugins of a folder, and everything that the rest of the program can do
//! with them.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

use super::action::ActionIncident;
use super::config::{CandidateQuota, PluginConfig};
use super::detector::{Detector, DetectorInstance};
use super::error::PluginError;
use super::handle::{ActionRun, DetectorHandle};
use super::plugin_info::PluginInfo;
use super::record::Quarantine;
use super::registry::{Examined, LivePlugin, ManageError, Pending, PluginView, Registry, Trial};
use super::runtime::Runtime;
use super::text::one_line;
use super::worker::{Counts, Worker};
use anomalyzer_domain::{Allowance, Mode, Origin, PluginChange, PluginKind};

/// Plugins of a folder, and the threads that run them. Clones are cheap. The threads end with the
/// last clone and the last handle.
#[derive(Clone)]
pub struct Plugins {
    inner: Arc<Inner>,
}

/// Weak reference to [`Plugins`]. It does not keep the threads running.
#[derive(Clone)]
pub struct WeakPlugins(Weak<Inner>);

impl WeakPlugins {
    /// Returns the plugins, or None after they have ended.
    pub fn upgrade(&self) -> Option<Plugins> {
        Some(Plugins {
            inner: self.0.upgrade()?,
        })
    }
}

struct Inner {
    config: PluginConfig,
    runtime: Arc<Runtime>,
    registry: Registry,
    workers: Vec<Arc<Worker>>,
    counts: Arc<Counts>,
}

/// Health of the plugins, for `/health` and `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PluginHealth {
    /// Number of detectors that can be opened.
    pub detectors: usize,
    /// Number of actions that can be opened.
    pub actions: usize,
    /// Reasons why plugins can't be used.
    pub broken: Vec<String>,
    /// True if only signed plugins are accepted, since the start.
    pub requires_signature: bool,
    /// Number of waiting calls, over all threads.
    pub waiting: usize,
    /// Maximum number of waiting calls, over all threads.
    pub capacity: usize,
    /// Number of times that a queue was full.
    pub full: u64,
    /// Number of calls made.
    pub calls: u64,
    /// Number of instances lost to a trap, a deadline, a limit or a broken contract.
    pub faults: u64,
    /// Linear memory of all instances, in bytes.
    pub memory_bytes: u64,
    /// Number of plugins that are still loading after the start.
    pub loading: usize,
    /// Size of the stored versions, in bytes.
    pub store_bytes: u64,
    /// Maximum size of the stored versions, in bytes.
    pub store_capacity_bytes: u64,
    /// Size of the compiled code in the cache, in bytes.
    pub cache_bytes: u64,
    /// Maximum size of the compiled code in the cache, in bytes.
    pub cache_capacity_bytes: u64,
}

impl Plugins {
    /// Loads the folder and starts the threads. [`Plugins::list`] reports unusable files. An error
    /// means that no plugin can be used at all. Takes seconds if the cache is empty, so don't call
    /// it from an async thread.
    pub fn load(config: PluginConfig) -> Result<Self, PluginError> {
        let plugins = Self::open(config)?;
        let never = CancellationToken::new();
        for pending in plugins.take_pending() {
            plugins.load_pending(&pending, &never);
        }
        plugins.finish_start(&never);
        Ok(plugins)
    }

    /// Starts the threads, and reads which plugins there are. Loads none of them: for each of
    /// [`Plugins::take_pending`] the caller must call [`Plugins::load_pending`], and then
    /// [`Plugins::finish_start`].
    pub fn open(config: PluginConfig) -> Result<Self, PluginError> {
        let runtime = Arc::new(Runtime::new(&config)?);
        let registry = Registry::open(&runtime, &config)?;
        let threads = match config.limits.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let counts = Arc::new(Counts::default());
        let workers = (0..threads)
            .map(|index| Worker::start(index, config.limits.queue, counts.clone()).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                runtime,
                registry,
                workers,
                counts,
            }),
        })
    }

    /// Loads only the given files, each under the given name; see [`Plugins::load`]. Other
    /// installed plugins are not loaded and take no time.
    ///
    /// # Errors
    /// Returns an error if a file can't be copied, or if [`Plugins::load`] fails.
    pub fn of_files<'f>(
        files: impl IntoIterator<Item = (String, &'f Path)>,
        config: PluginConfig,
    ) -> Result<Self, PluginError> {
        let unreadable = |folder: &Path, error: std::io::Error| PluginError::Folder {
            folder: folder.to_owned(),
            reason: error.to_string(),
        };
        let folder =
            tempfile::tempdir().map_err(|error| unreadable(&std::env::temp_dir(), error))?;
        for (name, file) in files {
            std::fs::copy(file, folder.path().join(format!("{name}.wasm")))
                .map_err(|error| unreadable(file, error))?;
        }
        Self::load(PluginConfig {
            folder: folder.path().to_owned(),
            ..config
        })
    }

    /// Returns the plugins to load at the start. Returns them once.
    pub fn take_pending(&self) -> Vec<Pending> {
        self.inner.registry.take_pending()
    }

    /// Loads one plugin at the start. Takes as long as the compilation, unless it is cancelled.
    pub fn load_pending(&self, pending: &Pending, cancel: &CancellationToken) {
        self.inner.registry.load_pending(pending, cancel);
    }

    /// Ends the start, after all plugins were loaded.
    pub fn finish_start(&self, cancel: &CancellationToken) {
        self.inner.registry.finish_start(cancel);
    }

    /// Waits until the start has ended.
    pub async fn loaded(&self) {
        self.inner.registry.loaded_or(|_| false).await;
    }

    /// Returns the number of plugins that are not loaded yet, including one for the end of the
    /// start.
    pub fn loading(&self) -> usize {
        self.inner.registry.loading()
    }

    /// Returns the names of plugins whose record an earlier release wrote. Such a record does not
    /// tell which versions were live.
    pub fn upgraded(&self) -> Vec<String> {
        self.inner.registry.upgraded()
    }

    /// Records which versions of a plugin of [`Plugins::upgraded`] were live, by their digests.
    pub fn approve_earlier(&self, name: &str, live_once: &[String]) {
        self.inner.registry.approve_earlier(name, live_once);
    }

    /// Returns the quotas for uploads that nobody approved.
    pub fn candidate_quota(&self) -> CandidateQuota {
        self.inner.config.candidates
    }

    /// Returns every plugin, sorted by file name. Includes files in the folder that can't be used.
    pub fn list(&self) -> Vec<PluginInfo> {
        self.inner
            .registry
            .views()
            .into_iter()
            .map(|view| view.info)
            .collect()
    }

    /// Returns a full view of every plugin, in the order of [`Plugins::list`].
    pub fn views(&self) -> Vec<PluginView> {
        self.inner.registry.views()
    }

    /// Returns the live plugins, sorted by name, with their statistics.
    pub fn live(&self) -> Vec<LivePlugin> {
        self.inner.registry.live()
    }

    /// Returns a full view of one plugin.
    pub fn view(&self, name: &str) -> Option<PluginView> {
        self.inner.registry.view(name)
    }

    /// Returns true if there is a live detector named `name`.
    pub fn has_detector(&self, name: &str) -> bool {
        self.inner.registry.detector(name).is_some()
    }

    /// Returns true if there is a live action named `name`. A solution is the name of an action
    /// with underscores in place of hyphens. Both forms are accepted.
    pub fn has_action(&self, name: &str) -> bool {
        self.inner.registry.action(&action_name(name)).is_some()
    }

    /// Returns the digest of the live version of a detector.
    pub fn detector_digest(&self, name: &str) -> Option<String> {
        self.inner
            .registry
            .detector(name)
            .map(|detector| detector.digest.clone())
    }

    /// Returns the number of times that a plugin got another chance after it may have been
    /// quarantined.
    pub fn chances(&self, name: &str) -> u64 {
        let stats = self.inner.runtime.stats.by_name(name);
        stats.map_or(0, |stats| stats.chances())
    }

    /// Returns the declared needs of an action, as (operation, scope). Returns nothing if there is
    /// no action of that name.
    pub fn needs(&self, action: &str) -> Vec<(String, String)> {
        self.inner.registry.needs(&action_name(action))
    }

    /// Returns a plugin's mode (the limit of its autonomy), the grants that were set at run time,
    /// and the quarantine that keeps it from being opened.
    pub fn standing(
        &self,
        name: &str,
    ) -> Option<(Mode, Option<Vec<Allowance>>, Option<Quarantine>)> {
        let record = self.inner.registry.record(&action_name(name))?;
        Some((record.mode, record.grants, record.quarantine))
    }

    /// Returns a counter that rises whenever a plugin is added, changed or removed.
    pub fn generation(&self) -> Receiver<u64> {
        self.inner.registry.generation()
    }

    /// Polls the folder and the trusted keys, and puts plugins that faulted too often into
    /// quarantine. Returns new and changed files for [`Plugins::take_file`]. Call it about twice a
    /// second, and not from an async thread.
    pub fn look(&self) -> Vec<PathBuf> {
        self.inner.registry.settle();
        self.inner.registry.lift_overdue();
        self.inner.registry.follow_keys();
        self.inner.registry.look()
    }

    /// Inspects a file of the folder and adds it to the plugins. Takes as long as the compilation.
    pub fn take_file(&self, path: &Path) {
        self.take_file_unless(path, &CancellationToken::new());
    }

    /// Inspects a file of the folder and adds it to the plugins, unless it is cancelled before.
    pub fn take_file_unless(&self, path: &Path, cancel: &CancellationToken) {
        self.inner.registry.take_file(path, false, cancel);
    }

    /// Inspects bytes without storing anything. Takes as long as the compilation, so don't call it
    /// from an async thread.
    ///
    /// # Errors
    /// Returns an error if the bytes are not a plugin that this host accepts, or if the signature
    /// does not fit.
    pub fn examine(
        &self,
        bytes: Vec<u8>,
        signature: Option<&str>,
    ) -> Result<Examined, ManageError> {
        self.examine_for(None, bytes, signature, &CancellationToken::new())
    }

    /// Inspects bytes that someone sent, without storing anything. `uploader` names a sender who
    /// may not decide what runs. Such senders have a queue and quotas of their own. The inspection
    /// ends soon after it is cancelled.
    ///
    /// # Errors
    /// Returns an error in the cases of [`Plugins::examine`], and if a quota is used up.
    pub fn examine_for(
        &self,
        uploader: Option<&str>,
        bytes: Vec<u8>,
        signature: Option<&str>,
        cancel: &CancellationToken,
    ) -> Result<Examined, ManageError> {
        let registry = &self.inner.registry;
        let examined = registry.examine(bytes, signature, uploader, cancel)?;
        registry.admits(&examined, uploader.is_none())?;
        // A version of an uploader passes the trial when an admin makes it live.
        if uploader.is_none() {
            registry.try_out(&examined).map_err(ManageError::Refused)?;
        }
        Ok(examined)
    }

    /// Returns a weak reference, for values that the plugins themselves own.
    pub fn downgrade(&self) -> WeakPlugins {
        WeakPlugins(Arc::downgrade(&self.inner))
    }

    /// Sets the trial that versions must pass from now on before they are added.
    pub fn set_trial(&self, trial: Trial) {
        self.inner.registry.set_trial(trial);
    }

    /// Returns the live plugins, sorted by name, with their bytes.
    ///
    /// # Errors
    /// Returns an error if the bytes can't be read from the disk.
    pub fn live_bytes(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        self.inner.registry.live_bytes()
    }

    /// Adds an inspected plugin, and makes it live or leaves that for later ([`Plugins::revert`]).
    ///
    /// # Errors
    /// Returns an error if the name belongs to another plugin, or if the plugin can't be written to
    /// the disk.
    pub fn install(
        &self,
        examined: Examined,
        origin: &Origin,
        live: bool,
    ) -> Result<PluginView, ManageError> {
        let name = examined.info().name.clone();
        self.inner.registry.upload(examined, origin, live)?;
        self.view(&name).ok_or(ManageError::NotFound(name))
    }

    /// Makes a stored version live, in the name of the admin `by`. `to` is the digest of that
    /// version or the beginning of its digest. Without `to`, the version that was live before the
    /// live version becomes live.
    ///
    /// # Errors
    /// Returns an error if that version does not exist or can't be read any more.
    pub fn revert(
        &self,
        name: &str,
        to: Option<&str>,
        by: &str,
    ) -> Result<PluginView, ManageError> {
        let never = CancellationToken::new();
        self.inner.registry.revert(name, to, by, &never)
    }

    /// Sets the grants of a plugin. None stands for the grants of the configuration.
    ///
    /// # Errors
    /// Returns an error if there is no plugin named `name`, or if the change can't be written to
    /// the disk. [`Plugins::set_mode`], [`Plugins::lift`] and [`Plugins::remove`] fail in these
    /// cases too.
    pub fn set_grants(
        &self,
        name: &str,
        grants: Option<Vec<Allowance>>,
        by: &str,
    ) -> Result<PluginView, ManageError> {
        self.inner.registry.set_grants(name, grants, by)
    }

    /// Sets the mode of a plugin, which limits its autonomy.
    pub fn set_mode(&self, name: &str, mode: Mode, by: &str) -> Result<PluginView, ManageError> {
        self.inner.registry.set_mode(name, mode, by)
    }

    /// Lifts the quarantine of a plugin.
    pub fn lift(&self, name: &str, by: &str) -> Result<PluginView, ManageError> {
        self.inner.registry.lift(name, by)
    }

    /// Removes an uploaded plugin. Its open instances run until they are closed.
    pub fn remove(&self, name: &str, by: &str) -> Result<(), ManageError> {
        self.inner.registry.remove(name, by)
    }

    /// Removes one candidate of a plugin. `digest` may be shortened.
    ///
    /// # Errors
    /// Returns an error if there is no such candidate, or if the change can't be stored.
    pub fn remove_candidate(&self, name: &str, digest: &str, by: &str) -> Result<(), ManageError> {
        self.inner.registry.remove_candidate(name, digest, by)
    }

    /// Returns the maximum size of a component, in bytes.
    pub fn most_bytes(&self) -> usize {
        usize::try_from(self.inner.config.limits.max_component_bytes).unwrap_or(usize::MAX)
    }

    /// Returns the changes to plugins since the last call, for the history.
    pub fn changes(&self) -> Vec<PluginChange> {
        self.inner.registry.changes()
    }

    /// Queues unrecorded changes again. The next call of [`Plugins::changes`] returns them.
    pub fn put_back(&self, unrecorded: Vec<PluginChange>) {
        self.inner.registry.put_back(unrecorded);
    }

    /// Opens a detector in a store of its own. Each signal and partition has one. Waits for the
    /// detector while the plugins are still loading.
    pub async fn detector(
        &self,
        name: &str,
        settings: &Value,
    ) -> Result<DetectorHandle, PluginError> {
        self.inner
            .registry
            .loaded_or(|registry| registry.detector(name).is_some())
            .await;
        DetectorHandle::open(&self.inner.workers, self.find_detector(name)?, settings).await
    }

    /// Opens a detector on this thread, without a queue and without reopening after a fault.
    /// Benchmarks use it, and so do trials of a plugin.
    pub fn monitor(&self, name: &str, settings: &Value) -> Result<DetectorInstance, PluginError> {
        DetectorInstance::open(self.find_detector(name)?, &settings.to_string())
    }

    /// Opens a run of an action, in a store of its own. Waits for the action while the plugins are
    /// still loading.
    pub async fn action(
        &self,
        name: &str,
        incident: ActionIncident,
        parameters: &Value,
    ) -> Result<ActionRun, PluginError> {
        let registry = &self.inner.registry;
        let plugin_name = action_name(name);
        let is_there = |registry: &Registry| registry.action(&plugin_name).is_some();
        registry.loaded_or(is_there).await;
        let plugin = registry
            .action(&plugin_name)
            .ok_or_else(|| self.not_found("action", name))?;
        plugin.runtime.admit(&plugin.name)?;
        ActionRun::open(&self.inner.workers, plugin, incident, parameters).await
    }

    /// Returns the health of the plugins.
    pub fn health(&self) -> PluginHealth {
        let Inner {
            runtime,
            registry,
            workers,
            counts,
            config,
        } = &*self.inner;
        PluginHealth {
            detectors: registry.count(PluginKind::Detector),
            actions: registry.count(PluginKind::Action),
            broken: registry
                .problem()
                .into_iter()
                .chain(registry.problems())
                .collect(),
            requires_signature: config.require_signature,
            waiting: workers.iter().map(|worker| worker.waiting()).sum(),
            capacity: workers.len() * config.limits.queue.max(1),
            full: counts.full.load(Ordering::Relaxed),
            calls: counts.calls.load(Ordering::Relaxed),
            faults: counts.faults.load(Ordering::Relaxed),
            memory_bytes: runtime.total.used(),
            loading: registry.loading(),
            store_bytes: registry.stored_bytes(),
            store_capacity_bytes: config.store_bytes,
            cache_bytes: runtime.compiler.cache_bytes(),
            cache_capacity_bytes: config.cache_bytes,
        }
    }

    /// Returns the live version of a detector.
    pub(super) fn find_detector(&self, name: &str) -> Result<Arc<Detector>, PluginError> {
        let plugin = self
            .inner
            .registry
            .detector(name)
            .ok_or_else(|| self.not_found("detector", name))?;
        plugin.runtime.admit(&plugin.name)?;
        Ok(plugin)
    }

    fn not_found(&self, kind: &'static str, name: &str) -> PluginError {
        PluginError::NotFound {
            kind,
            name: one_line(name, 80),
            folder: self.inner.config.folder.clone(),
        }
    }
}

fn action_name(solution: &str) -> String {
    solution.replace('_', "-")
}
