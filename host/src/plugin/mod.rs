//! The host of the plugins: WebAssembly components that anyone can write and nobody has to trust.
//!
//! Nothing else names wasmtime, and no type of wasmtime leaves this folder. A trap never crosses
//! its border: whatever a guest does comes out as a [`PluginError`]. Instances live on threads of
//! their own, one store each; every call has a deadline and every store its limits. A plugin can
//! import `log` and nothing else, so it has no clock, no socket, no file and no randomness: the
//! same input gives the same output.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch::Receiver;

use crate::domain::{Allowance, Mode};

mod action;
mod bindings;
mod compile;
mod component;
mod config;
mod desk;
mod detector;
mod engine;
mod error;
mod examine;
mod exports;
mod folder;
mod handle;
mod limits;
mod linker;
mod memory;
mod record;
mod registry;
mod shelf;
mod signature;
mod stats;
mod store;
mod text;
mod watch;
mod worker;

#[cfg(test)]
pub(crate) mod tests;

pub use action::{ActionIncident, ActionOutcome, ActionStep};
pub use compile::{CompileArgs, compile_and_exit, this_program};
pub use component::Surface;
pub use config::{Limits, PluginConfig, STORE};
pub use detector::{Frame, Monitor, RawFinding, Verdict};
pub use error::PluginError;
pub use examine::{Need, PluginInfo};
pub use handle::{ActionRun, DetectorHandle};
pub use memory::{MOST_SAVED, Saved};
pub use record::{PluginRecord, Quarantine};
pub use registry::{Examined, LivePlugin, ManageError, PluginView, Trial};
pub use signature::{TrustedKey, signer, trusted_in};
pub use stats::{CALL_SECONDS, CallTimes, PluginStats};

use compile::Compiler;
use engine::Ticker;
use limits::{Meter, Total};
use registry::Registry;
use stats::AllStats;
use store::Sandbox;
use worker::{Counts, Worker};

/// What a guest may hand to the host at a time when it has no samples to speak of, in bytes.
const OPENING_BYTES: usize = 64 << 10;

/// What every instance stands on.
struct Ground {
    engine: wasmtime::Engine,
    ticker: Arc<Ticker>,
    compiler: Compiler,
    limits: Limits,
    total: Arc<Total>,
    stats: AllStats,
    contained: bool,
}

impl Ground {
    fn sandbox(&self, plugin: Arc<str>) -> Sandbox {
        let stats = self.stats.of(&plugin);
        let meter = Meter::new(
            self.limits.memory_bytes,
            Arc::clone(&self.total),
            Arc::clone(&stats),
        );
        let mut sandbox =
            Sandbox::new(&self.engine, Arc::clone(&self.ticker), plugin, meter, stats);
        if self.contained {
            sandbox.contain();
        }
        sandbox
    }

    /// Nothing is opened of a plugin that was given up as a whole.
    fn admit(&self, plugin: &Arc<str>) -> Result<(), PluginError> {
        match self.stats.of(plugin).given_up() {
            Some(reason) => Err(PluginError::GivenUp {
                plugin: plugin.to_string(),
                reason,
            }),
            None => Ok(()),
        }
    }
}

/// The plugins of a folder, and the threads that run them. Cheap to clone. The threads end with the
/// last clone and the last handle.
#[derive(Clone)]
pub struct Plugins {
    inner: Arc<Inner>,
}

/// The same, without keeping them from ending.
#[derive(Clone)]
pub struct WeakPlugins(Weak<Inner>);

impl WeakPlugins {
    /// None once they ended.
    pub fn upgrade(&self) -> Option<Plugins> {
        Some(Plugins {
            inner: self.0.upgrade()?,
        })
    }
}

struct Inner {
    config: PluginConfig,
    ground: Arc<Ground>,
    registry: Registry,
    workers: Vec<Arc<Worker>>,
    counts: Arc<Counts>,
}

/// How the plugins are, for `/health` and `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PluginHealth {
    /// Detectors that can be opened.
    pub detectors: usize,
    /// Actions that can be opened.
    pub actions: usize,
    /// Why plugins can't be used.
    pub broken: Vec<String>,
    /// Calls that wait, over all threads.
    pub waiting: usize,
    /// How many may wait, over all threads.
    pub capacity: usize,
    /// How often a queue was full.
    pub full: u64,
    /// Calls made.
    pub calls: u64,
    /// Instances lost to a trap, a deadline, a limit or a broken contract.
    pub faults: u64,
    /// Linear memory of all instances, in bytes.
    pub memory_bytes: u64,
}

impl Plugins {
    /// Loads the folder and starts the threads. A file that is no good is told by
    /// [`Plugins::list`]; an error is for what stops all of them. Takes seconds when nothing is in
    /// the cache: not for an async thread.
    pub fn load(config: PluginConfig) -> Result<Self, PluginError> {
        let limits = config.limits.clone();
        let compiler = Compiler::new(&config)?;
        let (engine, ticker) = engine::engine(&config, compiler.cache())?;
        let ground = Arc::new(Ground {
            engine,
            ticker,
            compiler,
            total: Total::new(limits.total_memory_bytes),
            limits: limits.clone(),
            stats: AllStats::default(),
            contained: config.contained,
        });
        let registry = Registry::load(&ground, &config)?;
        let threads = match limits.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let counts = Arc::new(Counts::default());
        let workers = (0..threads)
            .map(|index| Worker::start(index, limits.queue, counts.clone()).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                ground,
                registry,
                workers,
                counts,
            }),
        })
    }

    /// The same of these files and no others, each under a name: what else is installed does not
    /// count, and takes no time.
    ///
    /// # Errors
    /// A file can't be copied, or all of them are stopped by the same.
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

    /// Every plugin by file name, also files in the folder that can't be used.
    pub fn list(&self) -> Vec<PluginInfo> {
        self.inner
            .registry
            .views()
            .into_iter()
            .map(|view| view.info)
            .collect()
    }

    /// The same with all that is known of them.
    pub fn views(&self) -> Vec<PluginView> {
        self.inner.registry.views()
    }

    /// Those that are live, by name, with how they have done.
    pub fn live(&self) -> Vec<LivePlugin> {
        self.inner.registry.live()
    }

    /// All about one plugin.
    pub fn view(&self, name: &str) -> Option<PluginView> {
        self.inner.registry.view(name)
    }

    /// Whether there is such a detector.
    pub fn has_detector(&self, name: &str) -> bool {
        self.inner.registry.detector(name).is_some()
    }

    /// Whether there is such an action. A solution is the name of an action with underscores for
    /// hyphens; both will do.
    pub fn has_action(&self, name: &str) -> bool {
        self.inner.registry.action(&action_name(name)).is_some()
    }

    /// The digest of the version of a detector that is live.
    pub fn detector_digest(&self, name: &str) -> Option<String> {
        self.inner
            .registry
            .detector(name)
            .map(|detector| detector.digest.clone())
    }

    /// How often a plugin that may have been quarantined got another chance.
    pub fn chances(&self, name: &str) -> u64 {
        self.inner.ground.stats.by_name(name).chances()
    }

    /// What an action declares to need, as (operation, scope); nothing if there is no such action.
    pub fn needs(&self, action: &str) -> Vec<(String, String)> {
        self.inner.registry.needs(&action_name(action))
    }

    /// How far a plugin may go by itself, what it was granted at run time, and why it is not
    /// opened.
    pub fn standing(
        &self,
        name: &str,
    ) -> Option<(Mode, Option<Vec<Allowance>>, Option<Quarantine>)> {
        let record = self.inner.registry.record(&action_name(name))?;
        Some((record.mode, record.grants, record.quarantine))
    }

    /// Moves whenever a plugin is taken in, changed or taken out.
    pub fn generation(&self) -> Receiver<u64> {
        self.inner.registry.generation()
    }

    /// Looks at the folder, and puts plugins that faulted too often into quarantine. What is new is
    /// for [`Plugins::take_file`]. To be called about twice a second; not for an async thread.
    pub fn look(&self) -> Vec<PathBuf> {
        self.inner.registry.settle();
        self.inner.registry.look()
    }

    /// Examines a file of the folder and takes it in. Takes as long as it takes to compile.
    pub fn take_file(&self, path: &Path) {
        self.inner.registry.take_file(path, false);
    }

    /// Examines bytes without storing anything. Takes as long as they take to compile: not for an
    /// async thread.
    ///
    /// # Errors
    /// They are not a plugin that this host takes, or the signature does not fit.
    pub fn examine(
        &self,
        bytes: Vec<u8>,
        signature: Option<&str>,
    ) -> Result<Examined, ManageError> {
        let examined = self.inner.registry.examine(bytes, signature)?;
        self.inner.registry.admits(&examined)?;
        self.inner
            .registry
            .try_out(&examined)
            .map_err(ManageError::Refused)?;
        Ok(examined)
    }

    /// For whoever they hold themselves.
    pub fn downgrade(&self) -> WeakPlugins {
        WeakPlugins(Arc::downgrade(&self.inner))
    }

    /// Says what versions that come from now on must pass before they are taken in.
    pub fn set_trial(&self, trial: Trial) {
        self.inner.registry.set_trial(trial);
    }

    /// Those that are live, by name, with their bytes.
    ///
    /// # Errors
    /// The disk.
    pub fn live_bytes(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        self.inner.registry.live_bytes()
    }

    /// Takes what was examined in, and makes it live or leaves that for later
    /// ([`Plugins::revert`]).
    ///
    /// # Errors
    /// Its name is another plugin's, or it can't be written to the disk.
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

    /// Makes a version live that is kept: that one (its digest, or how it begins), or the one
    /// before the live one.
    ///
    /// # Errors
    /// There is no such version, or it can't be read any more.
    pub fn revert(
        &self,
        name: &str,
        to: Option<&str>,
        by: &str,
    ) -> Result<PluginView, ManageError> {
        self.inner.registry.revert(name, to, by)
    }

    /// Says what a plugin is granted; None for what the configuration says.
    ///
    /// # Errors
    /// There is no such plugin, or it can't be written to the disk; the same for the others.
    pub fn set_grants(
        &self,
        name: &str,
        grants: Option<Vec<Allowance>>,
        by: &str,
    ) -> Result<PluginView, ManageError> {
        self.inner.registry.set_grants(name, grants, by)
    }

    /// Says how far a plugin may go by itself.
    pub fn set_mode(&self, name: &str, mode: Mode, by: &str) -> Result<PluginView, ManageError> {
        self.inner.registry.set_mode(name, mode, by)
    }

    /// Lets a plugin out of quarantine.
    pub fn lift(&self, name: &str, by: &str) -> Result<PluginView, ManageError> {
        self.inner.registry.lift(name, by)
    }

    /// Takes an uploaded plugin out. What is open goes on until it is closed.
    pub fn remove(&self, name: &str, by: &str) -> Result<(), ManageError> {
        self.inner.registry.remove(name, by)
    }

    /// How large a component may be, in bytes.
    pub fn most_bytes(&self) -> usize {
        usize::try_from(self.inner.config.limits.max_component_bytes).unwrap_or(usize::MAX)
    }

    /// What happened to plugins since this was asked last, for the history.
    pub fn changes(&self) -> Vec<PluginChange> {
        self.inner.registry.changes()
    }

    /// Gives changes back that could not be recorded, to be asked for again.
    pub fn put_back(&self, unrecorded: Vec<PluginChange>) {
        self.inner.registry.put_back(unrecorded);
    }

    /// Opens a detector in a store of its own: one for each signal and partition.
    pub async fn detector(
        &self,
        name: &str,
        settings: &Value,
    ) -> Result<DetectorHandle, PluginError> {
        DetectorHandle::open(&self.inner.workers, self.find_detector(name)?, settings).await
    }

    /// Opens a detector on this thread, without queue and without being opened again after a fault:
    /// for benchmarks, and for trying a plugin out.
    pub fn monitor(&self, name: &str, settings: &Value) -> Result<Monitor, PluginError> {
        Monitor::open(self.find_detector(name)?, &settings.to_string())
    }

    /// Opens a run of an action, in a store of its own.
    pub async fn action(
        &self,
        name: &str,
        incident: ActionIncident,
        parameters: &Value,
    ) -> Result<ActionRun, PluginError> {
        let found = self.inner.registry.action(&action_name(name));
        let plugin = found.ok_or_else(|| self.not_found("action", name))?;
        plugin.ground.admit(&plugin.name)?;
        ActionRun::open(&self.inner.workers, plugin, incident, parameters).await
    }

    /// How they are.
    pub fn health(&self) -> PluginHealth {
        let Inner {
            ground,
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
            waiting: workers.iter().map(|worker| worker.waiting()).sum(),
            capacity: workers.len() * config.limits.queue.max(1),
            full: counts.full.load(Ordering::Relaxed),
            calls: counts.calls.load(Ordering::Relaxed),
            faults: counts.faults.load(Ordering::Relaxed),
            memory_bytes: ground.total.used(),
        }
    }

    fn find_detector(&self, name: &str) -> Result<Arc<detector::Detector>, PluginError> {
        let plugin = self
            .inner
            .registry
            .detector(name)
            .ok_or_else(|| self.not_found("detector", name))?;
        plugin.ground.admit(&plugin.name)?;
        Ok(plugin)
    }

    fn not_found(&self, kind: &'static str, name: &str) -> PluginError {
        PluginError::NotFound {
            kind,
            name: text::one_line(name, 80),
            folder: self.inner.config.folder.clone(),
        }
    }
}

fn action_name(solution: &str) -> String {
    solution.replace('_', "-")
}
