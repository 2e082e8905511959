//! Start-up of the service, step by step.
//!
//! [`ServiceBuilder::run_steps`] shows the order. The API's address and tokens come first: a port
//! that is taken, or a token that cannot be read, must end the start before anything acts. The
//! plugins come last: they are foreign code, and must not keep the API, the operators and the
//! recovery of decisions from starting.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::backend::{EngineBackend, ServerBackend};
use super::background::{self, EngineWork, ServerWork};
use super::collector::CollectorFactory;
use super::engine::{DetectionStatus, EngineFactory, EngineParts};
use super::engine_watch::EngineWatch;
use super::executor::{self, ExecutorParts};
use super::full_disk::{missing_room, wait_for_room};
use super::health_check::{HealthCheck, health_loop, refresh_health};
use super::incidents;
use super::off_record_bus::OffRecordBus;
use super::plugins;
use super::record_watch;
use super::role::Role;
use super::running::Service;
use super::storage::{BUS_FILE_NAME, Stores};
use super::tasks::Tasks;
use crate::config::Config;
use anomalyzer_bus::Bus;
use anomalyzer_bus_kafka::KafkaBus;
use anomalyzer_bus_sqlite::LocalBus;
use anomalyzer_collect::MetricSource;
use anomalyzer_common::blind_spot::BlindSpots;
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::data_folder::{DataFolder, make_private};
use anomalyzer_common::metrics::Metrics;
use anomalyzer_common::set_aside::SetAside;
use anomalyzer_detect::{
    DroppedCounters, EngineProgress, Feedback, IncidentLog, StateStore, state_store,
};
use anomalyzer_diagnose::Diagnoser;
use anomalyzer_domain::{Clock, Incident, IncidentEvent, IncidentEventKind};
use anomalyzer_egress::notify::Notifier;
use anomalyzer_evaluate::backtest;
use anomalyzer_history::{History, HistoryReader};
use anomalyzer_operator_process::Local;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::{KillSwitch, OffRecord, OpenIncidents, Silences, candidate_actions};
use anomalyzer_verification::RecentSamples;

/// Folder of the undelivered notices in the data folder.
const OUTBOX: &str = "notices";

/// Longest wait at the start until the engine has read the open incidents from the bus.
const INCIDENTS_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest wait at the start for the plugins, and for the engine to open its detectors. Only the
/// report that the service is ready waits for them.
const PLUGINS_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that the tasks have to end after the shutdown, besides the stop timeout of process groups.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(15);

/// Configures and starts a [`Service`].
#[derive(Clone)]
pub struct ServiceBuilder {
    config: Config,
    role: Role,
}

impl Service {
    /// Returns a builder of a service that runs everything in one process.
    pub fn builder(config: Config) -> ServiceBuilder {
        let role = Role::Both;
        ServiceBuilder { config, role }
    }
}

impl ServiceBuilder {
    /// Sets the half of the service to run.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Starts the service, and returns it once the API answers and the plugins are loaded. Plugins
    /// that load slowly are not waited for. Returns `None`, with all tasks ended, if the shutdown
    /// came first.
    ///
    /// # Errors
    /// The configuration is wrong or does not pass its trial, or the port, the broker, the plugin
    /// folder or the data folder is not available.
    pub async fn start(self, shutdown: CancellationToken) -> anyhow::Result<Option<Service>> {
        let grace = shutdown_grace(&self.config);
        let endpoint = self.listen().await?;
        loop {
            let tasks = Tasks::new(shutdown.child_token());
            let another = endpoint.try_clone()?;
            let error = tokio::select! {
                service = self.clone().run_steps(another, tasks.clone()) => match service {
                    Ok(service) => return Ok(Some(service)),
                    Err(error) => error,
                },
                // A step may wait, for example for a broker. The shutdown ends the tasks that run
                // by then as at any other time.
                () = shutdown.cancelled() => {
                    tasks.close();
                    tasks.join(grace).await;
                    return Ok(None);
                }
            };
            tasks.shutdown().cancel();
            tasks.close();
            tasks.join(grace).await;
            let Some(reason) = missing_room(&self.config.data_dir) else {
                return Err(error);
            };
            let Endpoint {
                listener, access, ..
            } = endpoint.try_clone()?;
            wait_for_room(&self.config, (listener, access), reason, &shutdown).await?;
        }
    }

    /// Runs the steps of the start-up in their order.
    async fn run_steps(self, endpoint: Endpoint, tasks: Tasks) -> anyhow::Result<Service> {
        let (began, role) = (Instant::now(), self.role);
        let startup = self.open(tasks).await?;
        let local = startup.process_groups()?;
        let source = anomalyzer_collect::source(&startup.config.collect)?;
        let storage = startup.history(local).await?;
        let open = match &storage {
            Some(storage) => {
                plugins::approve_earlier(&startup.plugins, &storage.history).await?;
                storage.history.open_incidents().await?
            }
            None => vec![],
        };
        startup.set_trial();
        let engine = match role.detects() {
            true => Some(startup.detection(&source, &open).await?),
            false => None,
        };
        let server = match storage {
            Some(storage) => Some(startup.remediation(storage, &source, open).await?),
            None => None,
        };
        let (config, spots) = (&startup.config, &startup.blind_spots);
        let watched = &startup.notifier;
        background::spawn_blind_spot_notices(&startup.tasks, config, spots, watched)?;
        let (work, checks) = engine.map_or((None, vec![]), |it| (Some(it.work), it.checks));
        let (service, checks) = startup.http(endpoint, checks, server).await;
        startup.plugins(work).await?;
        refresh_health(&checks, startup.tasks.health()).await;
        tracing::info!(
            address = %service.address,
            ?role,
            signals = service.signals,
            ready_ms = began.elapsed().as_millis() as u64,
            "ready"
        );
        Ok(service)
    }

    /// Opens the port of the API, and reads its tokens.
    async fn listen(&self) -> anyhow::Result<Endpoint<std::net::TcpListener>> {
        let Self { config, role } = self;
        if *role != Role::Both && config.kafka.is_none() {
            anyhow::bail!(
                "`serve --role` runs one half by itself, and the halves are joined by Kafka: set [kafka] brokers or \
                 KAFKA_BROKERS, or run `serve` without a role"
            );
        }
        let listen = match role.serves() {
            true => config.api.listen,
            false => config.api.engine_listen,
        };
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen}: is another one running? choose another address in the configuration")
        })?;
        let address = listener.local_addr()?;
        let access = anomalyzer_api::Access::load(&config.api, listen)?;
        Ok(Endpoint {
            listener: listener.into_std()?,
            address,
            access,
        })
    }

    /// Opens the data folder and the plugin folder, and connects to the bus.
    async fn open(self, tasks: Tasks) -> anyhow::Result<Startup> {
        let Self { config, role } = self;
        let data_dir = &config.data_dir;
        let folder = Arc::new(DataFolder::open(data_dir, role.locks())?);
        let silences = Silences::open(data_dir)?;
        let feedback = Feedback::open(data_dir)?;
        let mut set_aside: Vec<SetAside> = Vec::new();
        set_aside.extend(silences.set_aside().cloned());
        set_aside.extend(feedback.set_aside().cloned());
        let mut plugin_config = config.plugins.clone();
        let store = &mut plugin_config.store;
        store.get_or_insert_with(|| data_dir.join(anomalyzer_plugin_host::STORE));
        let plugins = tokio::task::spawn_blocking(move || Plugins::open(plugin_config)).await??;
        let clock: Clock = Arc::new(now_ms);
        let notifier = Arc::new(Notifier::in_folder(
            config.notify.clone(),
            data_dir.join(OUTBOX),
        )?);
        let off_record = OffRecord::new(Arc::clone(&notifier), clock.clone());
        let bus: Arc<dyn Bus> = match &config.kafka {
            Some(kafka) => Arc::new(KafkaBus::connect(kafka.clone()).await?),
            None => {
                let path = data_dir.join(BUS_FILE_NAME);
                let bus = LocalBus::open(&path, config.local_bus.clone()).await?;
                set_aside.extend(bus.set_aside().cloned());
                let bus = Arc::new(OffRecordBus::new(Arc::new(bus), off_record.clone()));
                tasks.spawn(Arc::clone(&bus).run(tasks.shutdown().clone()));
                bus
            }
        };
        let storage = Stores::new(&config, set_aside);
        Ok(Startup {
            config: Arc::new(config),
            role,
            tasks,
            bus,
            plugins,
            silences,
            feedback,
            metrics: Metrics::default(),
            clock,
            notifier,
            off_record,
            folder,
            storage,
            detection: DetectionStatus::default(),
            dropped: Arc::default(),
            progress: Arc::default(),
            blind_spots: BlindSpots::default(),
            incidents: OpenIncidents::default(),
        })
    }
}

/// The open port of the API, with the tokens that it admits.
struct Endpoint<Listener = TcpListener> {
    listener: Listener,
    address: SocketAddr,
    access: anomalyzer_api::Access,
}

impl Endpoint<std::net::TcpListener> {
    /// Returns another handle of the port, for one attempt to start.
    fn try_clone(&self) -> anyhow::Result<Endpoint> {
        Ok(Endpoint {
            listener: TcpListener::from_std(self.listener.try_clone()?)?,
            address: self.address,
            access: self.access.clone(),
        })
    }
}

/// Parts that every role has, for the steps after [`ServiceBuilder::open`].
struct Startup {
    config: Arc<Config>,
    role: Role,
    tasks: Tasks,
    bus: Arc<dyn Bus>,
    plugins: Plugins,
    silences: Silences,
    feedback: Feedback,
    metrics: Metrics,
    clock: Clock,
    notifier: Arc<Notifier>,
    off_record: OffRecord,
    folder: Arc<DataFolder>,
    storage: Stores,
    detection: DetectionStatus,
    dropped: Arc<DroppedCounters>,
    progress: Arc<EngineProgress>,
    blind_spots: BlindSpots,
    incidents: OpenIncidents,
}

/// Parts that the server opens before the engine starts.
struct Storage {
    local: Option<Arc<Local>>,
    collector: CollectorFactory,
    history: History,
}

/// Parts of the server that its API uses.
struct Server {
    backend: ServerBackend,
    history: History,
    local: Option<Arc<Local>>,
    checks: Vec<HealthCheck>,
}

/// Parts of the engine, and its health checks.
struct Engine {
    work: Arc<EngineWork>,
    checks: Vec<HealthCheck>,
}

impl Startup {
    /// Opens the supervisor of process groups, if the role serves and any groups are configured.
    fn process_groups(&self) -> anyhow::Result<Option<Arc<Local>>> {
        let config = &self.config;
        if !self.role.serves() || config.local.groups.is_empty() {
            return Ok(None);
        }
        let local = Local::open(config.local.clone(), &config.data_dir)?;
        Ok(Some(Arc::new(local)))
    }

    /// Builds the collector and opens the history, if the role serves.
    async fn history(&self, local: Option<Arc<Local>>) -> anyhow::Result<Option<Storage>> {
        if !self.role.serves() {
            return Ok(None);
        }
        let (config, shutdown) = (&self.config, self.tasks.shutdown());
        let (local_ref, spots) = (local.as_ref(), &self.blind_spots);
        let collector = CollectorFactory::new(config, &self.bus, local_ref, shutdown, spots)?;
        let path = config.data_dir.join(anomalyzer_history::FILE_NAME);
        let log = self.bus.log_of_record();
        let history = History::open_with(&path, config.history, &self.metrics, log).await?;
        Ok(Some(Storage {
            local,
            collector,
            history,
        }))
    }

    /// Makes every version of a detector that is added from now on pass the trial, if the
    /// configuration asks for one.
    fn set_trial(&self) {
        let setup = self.config.backtest();
        if setup.trial.is_some() {
            // The plugins own this closure, so a strong reference would be a cycle.
            let plugins = self.plugins.downgrade();
            self.plugins
                .set_trial(Box::new(move |candidate| match plugins.upgrade() {
                    Some(plugins) => backtest::detector_must_pass(&setup, &plugins, candidate),
                    None => Err("the service ends".to_owned()),
                }));
        }
    }

    /// Loads the plugins, replays recorded metrics to the detectors if the configuration asks for
    /// it, and starts detection and diagnosis. Without a trial, plugins that load slowly are not
    /// waited for: whoever needs one of them waits for it alone.
    async fn plugins(&self, work: Option<Arc<EngineWork>>) -> anyhow::Result<()> {
        let (plugins, shutdown) = (self.plugins.clone(), self.tasks.shutdown().clone());
        self.tasks.spawn(plugins::load(plugins, shutdown));
        let setup = self.config.backtest();
        match setup.trial.is_some() {
            true => self.plugins.loaded().await,
            // The time only bounds the wait.
            false => drop(tokio::time::timeout(PLUGINS_TIMEOUT, self.plugins.loaded()).await),
        }
        backtest::must_pass(&setup, &self.plugins).await?;
        if let Some(work) = work {
            background::spawn_engine_tasks(&self.tasks, &work);
            drop(tokio::time::timeout(PLUGINS_TIMEOUT, work.engine.built()).await);
        }
        Ok(())
    }

    /// Prepares detection and diagnosis.
    async fn detection(
        &self,
        source: &Arc<dyn MetricSource>,
        open: &[Incident],
    ) -> anyhow::Result<Engine> {
        let config = &self.config;
        let known = self.known_incidents(open).await;
        let memory_path = config.data_dir.join(state_store::FILE_NAME);
        let engine = EngineFactory::new(EngineParts {
            config: Arc::clone(config),
            bus: Arc::clone(&self.bus),
            plugins: self.plugins.clone(),
            source: Arc::clone(source),
            status: Arc::clone(&self.detection),
            dropped: Arc::clone(&self.dropped),
            progress: Arc::clone(&self.progress),
            known,
            feedback: self.feedback.clone(),
            memory: StateStore::open(&memory_path, config.memory.clone()).await?,
        });
        let (diagnose, ollama) = (config.diagnose.clone(), config.ollama.clone());
        let offer = candidate_actions(config.candidates(), self.plugins.clone());
        let diagnoser = Diagnoser::new(diagnose, ollama, offer, self.clock.clone());
        let diagnoser = Arc::new(diagnoser.map_err(anyhow::Error::msg)?);
        let work = EngineWork {
            bus: Arc::clone(&self.bus),
            engine,
            diagnoser: Arc::clone(&diagnoser),
        };
        let detectors = HealthCheck::Detectors(Arc::clone(&self.detection));
        Ok(Engine {
            work: Arc::new(work),
            checks: vec![detectors, HealthCheck::Analyst(diagnoser)],
        })
    }

    /// Reads the open incidents from the bus, and adds those in `open`, which come from the
    /// history: the topic may no longer have them.
    async fn known_incidents(&self, open: &[Incident]) -> IncidentLog {
        let known = IncidentLog::default();
        background::spawn_incident_follower(&self.tasks, &self.bus, &known);
        if !known.caught_up(INCIDENTS_TIMEOUT).await {
            tracing::warn!(
                waited = ?INCIDENTS_TIMEOUT,
                "cannot read the open incidents in time: an incident may be opened a second time"
            );
        }
        for incident in open {
            known.seed(incident.clone());
        }
        known
    }

    /// Starts collection, the executor of decisions, and the tasks of the history.
    async fn remediation(
        &self,
        storage: Storage,
        source: &Arc<dyn MetricSource>,
        open: Vec<Incident>,
    ) -> anyhow::Result<Server> {
        let Storage {
            local,
            collector,
            history,
        } = storage;
        let config = &self.config;
        self.restore_incidents(open);
        let (notifier, clock) = (Arc::clone(&self.notifier), self.clock.clone());
        let dispatcher =
            executor::dispatcher(config, local.as_ref(), source, notifier, clock).await?;
        let mut checks = vec![
            HealthCheck::KillSwitch(self.kill_switch()),
            HealthCheck::Clock(HistoryReader::clone(&history), self.clock.clone()),
        ];
        let operators = dispatcher.operators.iter().cloned();
        checks.extend(operators.map(HealthCheck::Operator));
        checks.push(HealthCheck::Notices(Arc::clone(&dispatcher.notifier)));
        checks.push(HealthCheck::Collect(collector.status()));
        let recent = RecentSamples::default();
        let parts = self.executor_parts(&history, &recent);
        let executor = executor::executor(config, dispatcher, self.off_record.clone(), parts);
        self.tasks.spawn(record_watch::run(
            Arc::clone(&self.bus),
            history.clone(),
            self.off_record.clone(),
            self.tasks.shutdown().clone(),
        ));
        let incident_group = incidents::group(self.bus.as_ref(), &config.data_dir)
            .with_context(|| format!("cannot use the data folder {}", config.data_dir.display()))?;
        let backend = ServerBackend {
            probes: self.probes(),
            collected: collector.status(),
            executor: Arc::clone(&executor),
            recent: recent.clone(),
        };
        let work = ServerWork {
            config: Arc::clone(config),
            bus: Arc::clone(&self.bus),
            clock: self.clock.clone(),
            history: history.clone(),
            incident_group,
            incidents: self.incidents.clone(),
            recent,
            executor,
            collector,
            local: local.clone(),
        };
        background::spawn_server_tasks(&self.tasks, &Arc::new(work));
        Ok(Server {
            backend,
            history,
            local,
            checks,
        })
    }

    /// Restores the open incidents of the history for the executor.
    fn restore_incidents(&self, open: Vec<Incident>) {
        for incident in open {
            let (kind, at) = (IncidentEventKind::Changed, incident.changed_at);
            self.incidents.take(&IncidentEvent::new(kind, at, incident));
        }
    }

    fn executor_parts(&self, history: &History, recent: &RecentSamples) -> ExecutorParts {
        ExecutorParts {
            plugins: self.plugins.clone(),
            history: history.clone(),
            bus: Arc::clone(&self.bus),
            recent: recent.clone(),
            incidents: self.incidents.clone(),
            clock: self.clock.clone(),
            silences: self.silences.clone(),
        }
    }

    fn probes(&self) -> EngineBackend {
        EngineBackend {
            bus: Arc::clone(&self.bus),
            plugins: self.plugins.clone(),
            health: self.tasks.health().clone(),
            metrics: self.metrics.clone(),
            signals: self.config.signals(),
            detection: Arc::clone(&self.detection),
            dropped: Arc::clone(&self.dropped),
            blind_spots: self.blind_spots.clone(),
            progress: Arc::clone(&self.progress),
            incidents: self.incidents.clone(),
            storage: self.storage.clone(),
        }
    }

    fn engine_watch(&self) -> EngineWatch {
        EngineWatch {
            spots: self.blind_spots.clone(),
            bus: Arc::clone(&self.bus),
            detection: Arc::clone(&self.detection),
            progress: Arc::clone(&self.progress),
            plugins: self.plugins.clone(),
        }
    }

    fn kill_switch(&self) -> KillSwitch {
        KillSwitch::in_folder(&self.config.data_dir)
    }

    /// Starts the tasks that watch the plugin folder and the health, then the API.
    async fn http(
        &self,
        endpoint: Endpoint,
        engine_checks: Vec<HealthCheck>,
        server: Option<Server>,
    ) -> (Service, Arc<[HealthCheck]>) {
        // The parts have made their files by now.
        make_private(&self.config.data_dir);
        let tasks = &self.tasks;
        let history = server.as_ref().map(|server| server.history.clone());
        let local = server.as_ref().and_then(|server| server.local.clone());
        background::spawn_plugin_watcher(tasks, &self.plugins, history.as_ref());

        let mut checks = vec![
            HealthCheck::Bus(Arc::clone(&self.bus)),
            HealthCheck::Plugins(self.plugins.clone()),
            HealthCheck::BlindSpots(self.blind_spots.clone()),
            HealthCheck::Storage(self.storage.clone()),
        ];
        checks.extend(engine_checks);
        let server = server.map(|server| {
            checks.extend(server.checks);
            (server.backend, server.history)
        });
        let checks: Arc<[HealthCheck]> = checks.into();
        refresh_health(&checks, tasks.health()).await;
        let (health, shutdown) = (tasks.health().clone(), tasks.shutdown().clone());
        tasks.spawn(health_loop(Arc::clone(&checks), health, shutdown.clone()));
        tasks.spawn(self.engine_watch().run(shutdown));

        let router = match server {
            Some((backend, history)) => {
                let state = self.server_state(endpoint.access, backend, history);
                tasks.spawn(anomalyzer_api::watch_kill_switch(state.clone()));
                anomalyzer_api::router(state)
            }
            None => anomalyzer_api::engine_router(self.engine_state(endpoint.access)),
        };
        let (listener, shutdown) = (endpoint.listener, tasks.shutdown().clone());
        let metrics = self.metrics.clone();
        tasks.spawn(async move {
            let served = anomalyzer_api::serve(listener, router, metrics, shutdown);
            if let Err(error) = served.await {
                tracing::error!(%error, "the API ended");
            }
        });
        tasks.close();
        let service = Service {
            grace: shutdown_grace(&self.config),
            signals: self.config.signals().len(),
            bus: Arc::clone(&self.bus),
            history,
            local,
            incidents: self.incidents.clone(),
            detection: Arc::clone(&self.detection),
            address: endpoint.address,
            tasks: self.tasks.clone(),
            _folder: Arc::clone(&self.folder),
        };
        (service, checks)
    }

    fn server_state(
        &self,
        access: anomalyzer_api::Access,
        backend: ServerBackend,
        history: History,
    ) -> anomalyzer_api::ApiState {
        let (metrics, clock) = (self.metrics.clone(), self.clock.clone());
        let shutdown = self.tasks.shutdown().clone();
        let signals = self.config.signals();
        let detectors = signals.iter().flat_map(|signal| &signal.detectors);
        let watched_by = detectors.map(|detector| detector.name.clone()).collect();
        let backend = Arc::new(backend);
        anomalyzer_api::ApiState::new(access, backend, history, metrics, clock, shutdown)
            .with_kill_switch(self.kill_switch())
            .with_silences(self.silences.clone())
            .with_feedback(self.feedback.clone())
            .with_plugins(self.plugins.clone(), self.config.grants(), watched_by)
    }

    fn engine_state(&self, access: anomalyzer_api::Access) -> anomalyzer_api::EngineState {
        let (backend, metrics) = (Arc::new(self.probes()), self.metrics.clone());
        anomalyzer_api::EngineState::new(access, backend, metrics)
    }
}

/// Returns the time that the tasks have to end: [`SHUTDOWN_GRACE`], and the longest `stop_timeout`
/// of a process group.
fn shutdown_grace(config: &Config) -> Duration {
    let groups = config.local.groups.values();
    let longest_stop = groups.map(|group| group.stop_timeout).max();
    SHUTDOWN_GRACE.saturating_add(longest_stop.unwrap_or_default())
}
