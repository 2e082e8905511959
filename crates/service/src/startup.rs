//! The parts put together: both halves in one process, or each by itself, joined by the bus.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use anomalyzer_bus::{Bus, LogOfRecord};
use anomalyzer_bus_kafka::KafkaBus;
use anomalyzer_bus_sqlite::LocalBus;
use anomalyzer_collect::{CollectError, Collector, MetricSource, SignalSource};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::metrics::Metrics;
use anomalyzer_detect::{DetectStatus, Feedback, KnownIncidents, Memory, memory};
use anomalyzer_diagnose::Diagnoser;
use anomalyzer_domain::{Clock, IncidentEvent, IncidentEventKind, millis};
use anomalyzer_egress::http::HttpSender;
use anomalyzer_egress::notify::Notifier;
use anomalyzer_evaluate::backtest;
use anomalyzer_history::{History, HistoryReader};
use anomalyzer_operator::Operator;
use anomalyzer_operator_kubernetes::Kubernetes;
use anomalyzer_operator_process::Local;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::verification::Recent;
use anomalyzer_remediate::{
    Actor, Desk, Hands, KillSwitch, OpenIncidents, Silences, candidate_actions,
};

use super::doors::ServeDoors;
use super::engine::EngineMakings;
use super::health::{Health, Status};
use super::supervise::supervise;
use super::{groups, incidents, plugins, recent, sink};

/// Which half runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Collect, guard, act, verify, record, answer.
    Server,
    /// Detect and diagnose.
    Engine,
    /// Everything in one process.
    #[value(skip)]
    Both,
}

impl Role {
    fn serves(self) -> bool {
        matches!(self, Self::Server | Self::Both)
    }

    fn detects(self) -> bool {
        matches!(self, Self::Engine | Self::Both)
    }
}

/// How often the parts are asked how they are.
const LOOK_AROUND: Duration = Duration::from_secs(3);
/// How long the engine waits at the start until it has read which incidents are open.
const CATCH_UP: Duration = Duration::from_secs(15);

/// How long the parts may take to end after the shutdown, the process groups' own time besides.
const GRACE: Duration = Duration::from_secs(15);

pub(crate) type Detection = Arc<Mutex<BTreeMap<String, DetectStatus>>>;

/// What runs.
pub struct Running {
    bus: Arc<dyn Bus>,
    history: Option<History>,
    local: Option<Arc<Local>>,
    incidents: OpenIncidents,
    detection: Detection,
    health: Health,
    signals: usize,
    address: SocketAddr,
    tasks: TaskTracker,
    grace: Duration,
}

impl Running {
    /// The topics.
    pub fn bus(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.bus)
    }

    /// The history (server role).
    pub fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// The supervisor of process groups, if any are configured (server role).
    pub fn local(&self) -> Option<&Arc<Local>> {
        self.local.as_ref()
    }

    /// What is known of each signal's detection (engine role).
    pub fn detection(&self) -> BTreeMap<String, DetectStatus> {
        self.detection.lock().clone()
    }

    /// How many signals are configured.
    pub fn signals(&self) -> usize {
        self.signals
    }

    /// How many incidents are open (server role).
    pub fn open_incidents(&self) -> usize {
        self.incidents.open().len()
    }

    /// Parts that are not in working order, in words.
    pub fn problems(&self) -> Vec<String> {
        let parts = self.health.parts();
        let bad = parts
            .into_iter()
            .filter(|(_, part)| part.status != Status::Ok);
        bad.map(|(name, part)| format!("{name}: {}", part.detail))
            .collect()
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until everything has ended, after the shutdown; what does not end is cut off after a
    /// while.
    pub async fn ended(self) {
        end(&self.tasks, self.grace).await;
        if let Err(error) = self.bus.drain(Duration::from_secs(5)).await {
            tracing::warn!(%error, "messages were left in the bus");
        }
        if let Some(history) = &self.history {
            history.close().await;
        }
    }
}

/// Starts what the role asks for. Returns when it answers; `None` if it was told to stop before,
/// with all parts ended.
///
/// # Errors
/// What is configured wrongly or can't be had: the port, the broker, the plugins, the data folder.
pub async fn start(
    config: Config,
    role: Role,
    shutdown: CancellationToken,
) -> anyhow::Result<Option<Running>> {
    let (parts, grace) = (TaskTracker::new(), grace(&config));
    tokio::select! {
        running = begin(config, role, shutdown.clone(), parts.clone()) => running.map(Some),
        // A broker that is waited for, say. What is supervised by then is stopped as at any other
        // time.
        () = shutdown.cancelled() => {
            parts.close();
            end(&parts, grace).await;
            Ok(None)
        }
    }
}

async fn begin(
    config: Config,
    role: Role,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) -> anyhow::Result<Running> {
    let started = std::time::Instant::now();
    if role != Role::Both && config.kafka.is_none() {
        anyhow::bail!(
            "`serve --role` runs one half by itself, and the halves are joined by Kafka: set [kafka] brokers or \
             KAFKA_BROKERS, or run `serve` without a role"
        );
    }
    let listen = if role.serves() {
        config.api.listen
    } else {
        config.api.engine_listen
    };
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}: is another one running? choose another address in the configuration")
    })?;
    let address = listener.local_addr()?;
    // Before anything acts: a token that can't be had ends the start.
    let access = anomalyzer_api::Access::load(&config.api, listen)?;
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make the data folder {}", config.data_dir.display()))?;

    let silences = Silences::open(&config.data_dir)?;
    let feedback = Feedback::open(&config.data_dir)?;

    let mut plugin_config = config.plugins.clone();
    plugin_config
        .store
        .get_or_insert_with(|| config.data_dir.join(anomalyzer_plugin_host::STORE));
    let plugins = tokio::task::spawn_blocking(move || Plugins::load(plugin_config)).await??;
    let bus: Arc<dyn Bus> = match &config.kafka {
        Some(kafka) => Arc::new(KafkaBus::connect(kafka.clone()).await?),
        None => Arc::new(
            LocalBus::open(
                &config.data_dir.join("bus.sqlite"),
                config.local_bus.clone(),
            )
            .await?,
        ),
    };
    let health = Health::default();
    let metrics = Metrics::default();
    let clock: Clock = Arc::new(now_ms);
    let signals = config.signals();
    let mut running = Running {
        bus: Arc::clone(&bus),
        history: None,
        local: None,
        incidents: OpenIncidents::default(),
        detection: Detection::default(),
        health: health.clone(),
        signals: signals.len(),
        address,
        tasks: tasks.clone(),
        grace: grace(&config),
    };
    let mut doors = ServeDoors {
        bus: Arc::clone(&bus),
        plugins: plugins.clone(),
        health: health.clone(),
        detection: Arc::clone(&running.detection),
        collected: None,
        diagnoser: None,
        actor: None,
        operators: vec![],
        signals: signals.clone(),
        metrics: metrics.clone(),
        incidents: running.incidents.clone(),
        overlooked: Arc::default(),
        recent: None,
    };

    let local = match role.serves() && !config.local.groups.is_empty() {
        true => Some(Arc::new(Local::open(
            config.local.clone(),
            &config.data_dir,
        )?)),
        false => None,
    };
    let source = anomalyzer_collect::source(&config.collect)?;
    let collects = match role.serves() {
        true => {
            let makings = CollectorMakings {
                config: Arc::new(config.clone()),
                bus: Arc::clone(&bus),
                local: local.clone(),
                shutdown: shutdown.clone(),
            };
            let collector = makings.collector()?;
            Some((makings, collector))
        }
        false => None,
    };
    let history = match role.serves() {
        true => Some(open_history(&config, &metrics, bus.log_of_record()).await?),
        false => None,
    };
    let setup = config.backtest();
    backtest::must_pass(&setup, &plugins).await?;
    if setup.trial.is_some() {
        // Held weakly, as the plugins hold the trial.
        let live = plugins.downgrade();
        plugins.set_trial(Box::new(move |candidate| match live.upgrade() {
            Some(live) => backtest::detector_must_pass(&setup, &live, candidate),
            None => Err("the service ends".to_owned()),
        }));
    }
    let open = match &history {
        Some(history) => history.open_incidents().await?,
        None => vec![],
    };

    if role.detects() {
        let known = KnownIncidents::default();
        tasks.spawn(supervise(
            "known incidents",
            health.clone(),
            shutdown.clone(),
            {
                let (bus, known, stop) = (Arc::clone(&bus), known.clone(), shutdown.clone());
                move || {
                    let (bus, known, stop) = (Arc::clone(&bus), known.clone(), stop.clone());
                    async move { known.follow(bus.as_ref(), stop).await }
                }
            },
        ));
        if !known.caught_up(CATCH_UP).await {
            tracing::warn!(
                waited = ?CATCH_UP, "which incidents are open could not be read in time: one may be opened a second time"
            );
        }
        open.iter()
            .for_each(|incident| known.seed(incident.clone()));
        let makings = EngineMakings {
            config: Arc::new(config.clone()),
            bus: Arc::clone(&bus),
            plugins: plugins.clone(),
            source: Arc::clone(&source),
            detection: Arc::clone(&running.detection),
            overlooked: Arc::clone(&doors.overlooked),
            known,
            feedback: feedback.clone(),
            memory: Memory::open(
                &config.data_dir.join(memory::FILE_NAME),
                config.memory.clone(),
            )
            .await?,
        };
        let first = makings.engine().await?;
        tasks.spawn(supervise(
            "detect",
            health.clone(),
            shutdown.clone(),
            makings.run(first, shutdown.clone()),
        ));
        let diagnoser = diagnoser(&config, &plugins, clock.clone())?;
        doors.diagnoser = Some(Arc::clone(&diagnoser));
        let (bus, stop) = (Arc::clone(&bus), shutdown.clone());
        tasks.spawn(supervise(
            "diagnose",
            health.clone(),
            shutdown.clone(),
            move || {
                Arc::clone(&diagnoser).run(Arc::clone(&bus), "anomalyzer-diagnose", stop.clone())
            },
        ));
    }

    if let (Some(history), Some((makings, collector))) = (history, collects) {
        for incident in open {
            let (at, kind) = (incident.changed_at, IncidentEventKind::Changed);
            running.incidents.take(&IncidentEvent {
                kind,
                at,
                incident,
                evidence: vec![],
                attempt: 0,
                witnesses: vec![],
            });
        }
        let hands = hands(&config, local.as_ref(), &source, clock.clone()).await?;
        doors.operators.clone_from(&hands.operators);
        doors.collected = Some(collector.status());
        let recent = Recent::default();
        doors.recent = Some(recent.clone());
        let actor = Arc::new(Actor {
            config: config.act.clone(),
            verify: config.verify.clone(),
            policy: config.guard.clone(),
            grants: config.grants(),
            rate_limits: config
                .rate_limit
                .iter()
                .map(|limit| (limit.target.key(), limit.parameters()))
                .collect(),
            plugins: plugins.clone(),
            hands,
            history: history.clone(),
            bus: Arc::clone(&bus),
            recent: recent.clone(),
            incidents: running.incidents.clone(),
            clock: clock.clone(),
            steady: {
                let began = std::time::Instant::now();
                Arc::new(move || millis(began.elapsed()))
            },
            kill_switch: KillSwitch::in_folder(&config.data_dir),
            silences: silences.clone(),
            desk: Desk::default(),
        });
        doors.actor = Some(Arc::clone(&actor));
        if let Some(local) = &local {
            let (local, stop) = (Arc::clone(local), shutdown.clone());
            tasks.spawn(supervise(
                "groups",
                health.clone(),
                shutdown.clone(),
                move || {
                    let (local, stop) = (Arc::clone(&local), stop.clone());
                    async move {
                        local.run(stop).await;
                        Ok::<(), std::convert::Infallible>(())
                    }
                },
            ));
        }
        tasks.spawn(supervise("anchors", health.clone(), shutdown.clone(), {
            let (config, reader, bus) = (
                config.anchor.clone(),
                HistoryReader::clone(&history),
                Arc::clone(&bus),
            );
            let (clock, stop) = (clock.clone(), shutdown.clone());
            move || {
                anomalyzer_history::anchor(
                    config.clone(),
                    reader.clone(),
                    Arc::clone(&bus),
                    clock.clone(),
                    stop.clone(),
                )
            }
        }));
        tasks.spawn(supervise("retention", health.clone(), shutdown.clone(), {
            let (config, history) = (config.retention.clone(), history.clone());
            let (clock, stop) = (clock.clone(), shutdown.clone());
            move || {
                anomalyzer_history::retain(
                    config.clone(),
                    history.clone(),
                    clock.clone(),
                    stop.clone(),
                )
            }
        }));
        let worker = |name, start| supervise(name, health.clone(), shutdown.clone(), start);
        {
            let group = incidents::group(bus.as_ref(), &config.data_dir).with_context(|| {
                format!("cannot use the data folder {}", config.data_dir.display())
            })?;
            let (bus, history, incidents, stop) = (
                Arc::clone(&bus),
                history.clone(),
                running.incidents.clone(),
                shutdown.clone(),
            );
            tasks.spawn(supervise(
                "incidents",
                health.clone(),
                shutdown.clone(),
                move || {
                    incidents::run(
                        Arc::clone(&bus),
                        group.clone(),
                        history.clone(),
                        incidents.clone(),
                        stop.clone(),
                    )
                },
            ));
            let (bus, stop) = (Arc::clone(&running.bus), shutdown.clone());
            tasks.spawn(supervise(
                "recent",
                health.clone(),
                shutdown.clone(),
                move || recent::run(Arc::clone(&bus), recent.clone(), stop.clone()),
            ));
            let stop = shutdown.clone();
            tasks.spawn(worker("act", move || {
                Arc::clone(&actor).run("anomalyzer-act", stop.clone())
            }));
        }
        tasks.spawn(supervise(
            "sources",
            health.clone(),
            shutdown.clone(),
            makings.run(collector),
        ));
        running.history = Some(history);
        running.local = local;
    }

    {
        let (plugins, history, stop) = (plugins.clone(), running.history.clone(), shutdown.clone());
        tasks.spawn(supervise(
            "plugin folder",
            health.clone(),
            shutdown.clone(),
            move || {
                let (plugins, history, stop) = (plugins.clone(), history.clone(), stop.clone());
                async move {
                    plugins::run(plugins, history, stop).await;
                    Ok::<(), std::convert::Infallible>(())
                }
            },
        ));
    }

    let doors = Arc::new(doors);
    look(&doors).await;
    tasks.spawn(look_around(Arc::clone(&doors), shutdown.clone()));
    let open = Arc::clone(&doors) as Arc<dyn anomalyzer_api::Doors>;
    let router = match &running.history {
        Some(history) => {
            let (history, clock, stop) = (history.clone(), clock.clone(), shutdown.clone());
            let watched_by = signals
                .iter()
                .flat_map(|signal| &signal.detectors)
                .map(|detector| detector.name.clone())
                .collect();
            let state = anomalyzer_api::ApiState::new(access, open, history, metrics, clock, stop)
                .with_kill_switch(KillSwitch::in_folder(&config.data_dir))
                .with_silences(silences)
                .with_feedback(feedback);
            let state = state.with_plugins(plugins, config.grants(), watched_by);
            tasks.spawn(anomalyzer_api::watch_kill_switch(state.clone()));
            anomalyzer_api::router(state)
        }
        None => {
            anomalyzer_api::engine_router(anomalyzer_api::EngineState::new(access, open, metrics))
        }
    };
    let stop = shutdown.clone();
    tasks.spawn(async move {
        if let Err(error) = anomalyzer_api::serve(listener, router, stop).await {
            tracing::error!(%error, "the API ended");
        }
    });
    tasks.close();
    tracing::info!(
        %address, ?role, signals = running.signals, ready_ms = started.elapsed().as_millis() as u64, "ready"
    );
    Ok(running)
}

async fn end(parts: &TaskTracker, grace: Duration) {
    if tokio::time::timeout(grace, parts.wait()).await.is_err() {
        tracing::warn!(parts = parts.len(), after = ?grace, "some parts did not end and are cut off");
    }
}

/// How long the parts may take to end: processes that are stopped have as long as it is configured.
fn grace(config: &Config) -> Duration {
    let longest = config
        .local
        .groups
        .values()
        .map(|group| group.stop_timeout)
        .max();
    GRACE.saturating_add(longest.unwrap_or_default())
}

async fn open_history(
    config: &Config,
    metrics: &Metrics,
    log: Option<Box<dyn LogOfRecord>>,
) -> anyhow::Result<History> {
    Ok(History::open_with(
        &config.data_dir.join(anomalyzer_history::FILE_NAME),
        config.history,
        metrics,
        log,
    )
    .await?)
}

async fn hands(
    config: &Config,
    local: Option<&Arc<Local>>,
    source: &Arc<dyn MetricSource>,
    clock: Clock,
) -> anyhow::Result<Hands> {
    let mut operators: Vec<Arc<dyn Operator>> = Vec::new();
    if let Some(local) = local {
        operators.push(Arc::clone(local) as Arc<dyn Operator>);
    }
    if let Some(kubernetes) = &config.kubernetes {
        operators.push(Arc::new(Kubernetes::connect(kubernetes).await?));
    }
    Ok(Hands {
        operators,
        notifier: Arc::new(Notifier::new(config.notify.clone())?),
        http: Arc::new(HttpSender::new(&config.http).map_err(anyhow::Error::msg)?),
        metrics: Arc::clone(source),
        queries: config
            .signals()
            .into_iter()
            .filter_map(|signal| match signal.source {
                SignalSource::Query(query) => Some((signal.name, query)),
                _ => None,
            })
            .collect(),
        clock,
    })
}

/// What a collector is made of. One that failed is made anew, with the same status board.
struct CollectorMakings {
    config: Arc<Config>,
    bus: Arc<dyn Bus>,
    local: Option<Arc<Local>>,
    shutdown: CancellationToken,
}

impl CollectorMakings {
    fn collector(&self) -> Result<Collector, CollectError> {
        let sink = Arc::new(sink::BusSink::new(Arc::clone(&self.bus)));
        let groups = self
            .local
            .as_ref()
            .map(|local| groups::to_scrape(local, &self.shutdown))
            .unwrap_or_default();
        Collector::new(
            self.config.collect.clone(),
            self.config.signals(),
            &groups,
            sink,
        )
    }

    /// Runs the first one, and at each further call a new one.
    fn run(self, first: Collector) -> impl FnMut() -> BoxFuture<'static, anyhow::Result<()>> {
        let (board, mut first) = (first.status(), Some(first));
        move || {
            let stop = self.shutdown.clone();
            let collector = match first.take() {
                Some(first) => Ok(first),
                None => self
                    .collector()
                    .map(|collector| collector.with_status(board.clone())),
            };
            Box::pin(async move { Ok(collector?.run(stop).await?) })
        }
    }
}

fn diagnoser(config: &Config, plugins: &Plugins, clock: Clock) -> anyhow::Result<Arc<Diagnoser>> {
    let offer = candidate_actions(config.candidates(), plugins.clone());
    Diagnoser::new(config.diagnose.clone(), config.ollama.clone(), offer, clock)
        .map(Arc::new)
        .map_err(anyhow::Error::msg)
}

/// Asks all parts that can be asked how they are, into [`Health`], every few seconds until told to
/// stop.
async fn look_around(doors: Arc<ServeDoors>, shutdown: CancellationToken) {
    loop {
        look(&doors).await;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_AROUND) => {}
        }
    }
}

async fn look(doors: &ServeDoors) {
    let bus = doors.bus.health();
    let (status, detail) = match &bus.problem {
        Some(problem) => (Status::Broken, problem.clone()),
        None => (
            Status::Ok,
            format!("{}: {} of {} waiting", bus.kind, bus.waiting, bus.capacity),
        ),
    };
    doors.health.set("bus", status, detail);
    let plugins = doors.plugins.health();
    let detail = format!(
        "{} detectors, {} actions, {} faults",
        plugins.detectors, plugins.actions, plugins.faults
    );
    match plugins.broken.first() {
        Some(broken) => {
            doors
                .health
                .set("plugins", Status::Degraded, format!("{detail}; {broken}"))
        }
        None => doors.health.set("plugins", Status::Ok, detail),
    }
    if doors.diagnoser.is_some() {
        let (status, detail) = detectors(&doors.detection);
        doors.health.set("detectors", status, detail);
    }
    if let Some(actor) = &doors.actor {
        match actor.stopped() {
            Some(why) => doors.health.set(
                "kill switch",
                Status::Degraded,
                format!("on, nothing is changed: {why}"),
            ),
            None => doors.health.set("kill switch", Status::Ok, "off"),
        }
    }
    for operator in &doors.operators {
        let asked = tokio::time::timeout(Duration::from_secs(3), operator.check()).await;
        let (status, detail) = match asked {
            Ok(Ok(())) => (Status::Ok, "answers".to_owned()),
            Ok(Err(error)) => (Status::Broken, error.to_string()),
            Err(_) => (Status::Broken, "no answer within 3 s".to_owned()),
        };
        doors.health.set(operator.name(), status, detail);
    }
    if let Some(diagnoser) = &doors.diagnoser {
        // The rules stand in for the model, so that without it the whole is worse, not broken.
        match diagnoser.health().await {
            None => doors
                .health
                .set("analyst", Status::Ok, "rules: no ollama is configured"),
            Some(ollama) => match ollama.problem {
                Some(problem) => {
                    doors
                        .health
                        .set("analyst", Status::Degraded, format!("rules: {problem}"))
                }
                None => doors.health.set(
                    "analyst",
                    Status::Ok,
                    format!("ollama with {}", ollama.model),
                ),
            },
        }
    }
    if let Some(collected) = &doors.collected {
        let all = collected.all();
        let failing: Vec<_> = all.iter().filter(|signal| signal.failing).collect();
        match failing.first() {
            None => doors
                .health
                .set("collect", Status::Ok, format!("{} signals", all.len())),
            Some(first) => {
                let why = first
                    .last_failure
                    .as_ref()
                    .map_or("", |failure| failure.message.as_str());
                let detail = format!(
                    "{} of {} signals fail; {}: {why}",
                    failing.len(),
                    all.len(),
                    first.signal
                );
                // With one source left there is something to go by; without any it is blind.
                let status = if failing.len() == all.len() {
                    Status::Broken
                } else {
                    Status::Degraded
                };
                doors.health.set("collect", status, detail);
            }
        }
    }
}

/// One that is quarantined is stood in for by another, so that its signals are watched less well.
fn detectors(detection: &Detection) -> (Status, String) {
    let detection = detection.lock();
    let mut quarantined = detection
        .iter()
        .filter(|(_, status)| !status.quarantined.is_empty());
    match quarantined.next() {
        None => (Status::Ok, format!("{} signals", detection.len())),
        Some((signal, status)) => {
            let why = status.quarantined.join(", ");
            let detail = format!(
                "{} of {} signals; {signal}: {why}",
                quarantined.count() + 1,
                detection.len()
            );
            // With nothing in its place a signal is not watched at all.
            let blind = detection.values().any(|status| status.detectors.is_empty());
            (
                if blind {
                    Status::Broken
                } else {
                    Status::Degraded
                },
                detail,
            )
        }
    }
}
