//! The loop: batches in, frames to the detectors, findings into incidents, events out, then the
//! commit.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::begin::Beginning;
use super::detector::Named;
use super::feedback::{Feedback, strength};
use super::incidents::IncidentBook;
use super::keeping::Keeping;
use super::memory::Memory;
use super::overlooked::Overlooked;
use super::recalled::Recalled;
use super::silence::Silence;
use super::watched::{DetectStatus, Means, Watched};
use anomalyzer_bus::{Bus, BusError, Subscription};
use anomalyzer_collect::{DetectorConfig, SignalConfig};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::failpoint::fail_point;
use anomalyzer_domain::{
    Coverage, Delivery, Finding, IncidentEvent, Meaning, MetricBatch, Phase, Series, Target, Topic,
    UnixMs,
};
use anomalyzer_plugin_host::{Frame, PluginError, Plugins};
use anomalyzer_wire::Believed;
use anomalyzer_wire::metrics::{Content, Head};

/// Most messages handled at once: their samples make one frame per signal.
const MOST_MESSAGES: usize = 512;
/// How long to wait for the first one.
const PATIENCE: Duration = Duration::from_millis(500);
/// Most signals that are watched without being configured. Each has detectors of its own, which
/// hold memory.
const MOST_UNKNOWN: usize = 256;
/// One of them that was not heard of for this long makes room for another.
const IDLE_MS: i64 = 60 * 60 * 1000;
/// How often an event is offered to the bus before the engine gives up and is restarted.
const PUBLISH_ATTEMPTS: u32 = 60;

/// Why the engine stopped.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The bus.
    #[error("detect: {0}")]
    Bus(#[from] BusError),
    /// A detector can't be opened.
    #[error("signal `{signal}`: detector `{detector}`: {source}")]
    Detector {
        /// The signal.
        signal: String,
        /// The detector.
        detector: String,
        /// Why.
        source: PluginError,
    },
}

/// Where the past of a signal comes from.
#[async_trait]
pub trait Backfill: Send + Sync {
    /// The series of a signal between two times, under their targets. None when the source keeps no
    /// past.
    async fn history(
        &self,
        signal: &str,
        from: UnixMs,
        to: UnixMs,
    ) -> Option<Vec<(Target, Series)>>;
}

/// A message that was opened.
struct Arrived<'a> {
    delivery: &'a Delivery,
    target: Target,
    observed_at: UnixMs,
    coverage: Coverage,
    foreign: bool,
    content: Content<'a>,
}

/// The detecting half's loop.
pub struct Engine {
    bus: Arc<dyn Bus>,
    plugins: Plugins,
    signals: HashMap<String, SignalConfig>,
    /// For signals that are not configured: someone else's samples.
    fallback: Vec<DetectorConfig>,
    watched: HashMap<String, Watched>,
    book: IncidentBook,
    silence: Silence,
    backfill: Option<Arc<dyn Backfill>>,
    keeping: Option<Keeping>,
    feedback: Option<Feedback>,
    status: Arc<Mutex<BTreeMap<String, DetectStatus>>>,
    overlooked: Arc<Overlooked>,
    events: Vec<IncidentEvent>,
    /// Moves when a plugin is changed.
    generation: watch::Receiver<u64>,
}

impl Engine {
    /// `silent_after`: how long none of a signal's sources must answer before that is a finding.
    pub fn new(
        bus: Arc<dyn Bus>,
        plugins: Plugins,
        signals: Vec<SignalConfig>,
        fallback: Vec<DetectorConfig>,
        book: IncidentBook,
        silent_after: Duration,
        backfill: Option<Arc<dyn Backfill>>,
    ) -> Self {
        Self {
            bus,
            generation: plugins.generation(),
            plugins,
            signals: signals
                .into_iter()
                .map(|signal| (signal.name.clone(), signal))
                .collect(),
            fallback,
            watched: HashMap::new(),
            book,
            silence: Silence::new(silent_after),
            backfill,
            keeping: None,
            feedback: None,
            status: Arc::default(),
            overlooked: Arc::default(),
            events: Vec::new(),
        }
    }

    /// Keeps what its detectors know there, and begins with what was kept.
    #[must_use]
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.keeping = Some(Keeping::new(memory));
        self
    }

    /// Holds back what people said is noise.
    #[must_use]
    pub fn with_feedback(mut self, feedback: Feedback) -> Self {
        self.feedback = Some(feedback);
        self
    }

    /// Shows its status there.
    #[must_use]
    pub fn with_status(mut self, status: Arc<Mutex<BTreeMap<String, DetectStatus>>>) -> Self {
        self.status = status;
        self
    }

    /// Counts there what is beyond the bounds.
    #[must_use]
    pub fn with_overlooked(mut self, overlooked: Arc<Overlooked>) -> Self {
        self.overlooked = overlooked;
        self
    }

    /// Opens the detectors of every configured signal, so that a wrong setting is known at start.
    ///
    /// # Errors
    /// A detector that does not exist or refuses its settings.
    pub async fn open_configured(&mut self) -> Result<(), EngineError> {
        let names: Vec<String> = self.signals.keys().cloned().collect();
        for name in names {
            self.open(&name).await?;
        }
        Ok(())
    }

    /// Runs until told to stop. A message is committed after the events that came of it are
    /// durable.
    ///
    /// # Errors
    /// The bus stayed out of reach.
    pub async fn run(
        mut self,
        group: &str,
        shutdown: CancellationToken,
    ) -> Result<(), EngineError> {
        let ended = self.work(group, shutdown).await;
        if let Some(keeping) = &mut self.keeping {
            keeping.at_the_end(&mut self.watched).await;
        }
        ended
    }

    async fn work(&mut self, group: &str, shutdown: CancellationToken) -> Result<(), EngineError> {
        let mut subscription = self.bus.subscribe(Topic::Metrics, group).await?;
        loop {
            let deliveries = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                deliveries = subscription.next(MOST_MESSAGES, PATIENCE) => deliveries,
            };
            match deliveries {
                Ok(deliveries) if deliveries.is_empty() => {
                    // Nobody sends: time passes all the same. What became due is published with the
                    // time that counted.
                    self.events.extend(self.book.pass(now_ms()));
                    self.publish().await?;
                }
                Ok(deliveries) => {
                    self.follow_plugins().await;
                    self.handle(&deliveries, subscription.as_mut()).await?;
                }
                Err(BusError::Closed) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "cannot read metrics; trying again");
                    tokio::select! {
                        () = shutdown.cancelled() => return Ok(()),
                        () = tokio::time::sleep(PATIENCE) => {}
                    }
                }
            }
            if let Some(keeping) = &mut self.keeping {
                keeping.now_and_then(&mut self.watched).await;
            }
        }
    }

    pub async fn handle(
        &mut self,
        deliveries: &[Delivery],
        subscription: &mut dyn Subscription,
    ) -> Result<(), EngineError> {
        let mut by_signal: BTreeMap<String, Vec<Arrived<'_>>> = BTreeMap::new();
        let mut elsewhere: Vec<(String, Arrived<'_>)> = Vec::new();
        let (mut now, believed) = (UnixMs::MIN, Believed::at(now_ms()));
        for delivery in deliveries {
            match anomalyzer_wire::metrics::open(delivery, believed) {
                Ok((head, content)) => {
                    now = now.max(head.observed_at);
                    let Head {
                        signal,
                        target,
                        observed_at,
                        coverage,
                        foreign,
                    } = head;
                    let target = target.unwrap_or_else(|| Target::new("", "Metric", &signal));
                    let arrived = Arrived {
                        delivery,
                        target,
                        observed_at,
                        coverage,
                        foreign,
                        content,
                    };
                    if self.belongs_elsewhere(&arrived) {
                        elsewhere.push((signal, arrived));
                    } else {
                        by_signal.entry(signal).or_default().push(arrived);
                    }
                }
                Err(error) => set_aside(subscription, delivery, &error.to_string()).await?,
            }
        }
        for (signal, arrived) in self.pass_on(elsewhere).await {
            by_signal.entry(signal).or_default().push(arrived);
        }
        for (signal, arrived) in &by_signal {
            if !self.has_room_for(signal, now) {
                self.overlooked
                    .count(signal, arrived.len() as u64, MOST_UNKNOWN);
                continue;
            }
            match self.observe(signal, arrived).await {
                Ok(unreadable) => {
                    for (delivery, reason) in unreadable {
                        set_aside(subscription, delivery, &reason).await?;
                    }
                }
                Err(error) => {
                    tracing::error!(signal, %error, "the samples of a signal could not be looked at");
                    for arrived in arrived {
                        set_aside(subscription, arrived.delivery, &error.to_string()).await?;
                    }
                }
            }
        }
        if now > UnixMs::MIN {
            self.events.extend(self.book.pass(now));
        }
        self.publish().await?;
        let mut last: HashMap<i32, &Delivery> = HashMap::new();
        for delivery in deliveries {
            last.insert(delivery.partition, delivery);
        }
        for delivery in last.into_values() {
            if let Err(error) = subscription.commit(delivery).await {
                // They come again, and are recognised by their watermark and their ids.
                tracing::warn!(%error, "cannot commit; the messages will be delivered again");
            }
        }
        Ok(())
    }

    /// Publishes what came about. What must not be forgotten with it is saved: after this, the
    /// messages that it came of may be committed.
    async fn publish(&mut self) -> Result<(), BusError> {
        for event in std::mem::take(&mut self.events) {
            fail_point("before", "incident_published");
            publish(self.bus.as_ref(), &event).await?;
            fail_point("after", "incident_published");
            self.book.published(&event);
        }
        if let Some(keeping) = &mut self.keeping {
            keeping.before_commit(&mut self.watched).await;
        }
        Ok(())
    }

    /// Someone else's message may be under any key, or none, so that the samples of one target
    /// reach several engines.
    fn belongs_elsewhere(&self, arrived: &Arrived<'_>) -> bool {
        matches!(arrived.content, Content::Read(_))
            && self.bus.is_partitioned()
            && arrived.delivery.record.key.as_deref() != Some(&arrived.target.key())
    }

    /// Publishes them once more under the keys that they would have if they were ours, all at once,
    /// and waits until they are durable, since they are committed then. Answers those that can't
    /// be: they are looked at here.
    async fn pass_on<'a>(
        &self,
        elsewhere: Vec<(String, Arrived<'a>)>,
    ) -> Vec<(String, Arrived<'a>)> {
        let published = elsewhere.iter().map(|(signal, arrived)| {
            let series = match &arrived.content {
                Content::Read(series) => series.clone(),
                Content::Encoded(_) => vec![],
            };
            let batch = MetricBatch {
                signal: signal.clone(),
                target: Some(arrived.target.clone()),
                observed_at: arrived.observed_at,
                coverage: arrived.coverage,
                series,
                foreign: true,
            };
            self.bus
                .publish_confirmed(Topic::Metrics, anomalyzer_wire::metrics::encode(&batch))
        });
        let published = futures::future::join_all(published).await;
        let left =
            elsewhere
                .into_iter()
                .zip(published)
                .filter_map(|((signal, arrived), published)| {
                    let error = published.err()?;
                    tracing::warn!(signal, %error, "samples of another producer keep their key");
                    Some((signal, arrived))
                });
        left.collect()
    }

    /// Whether a signal can be watched. One that is not configured may have to wait until another
    /// one is idle.
    fn has_room_for(&mut self, signal: &str, now: UnixMs) -> bool {
        if self.signals.contains_key(signal) || self.watched.contains_key(signal) {
            return true;
        }
        let unknown = |(name, watched): (&String, &Watched)| {
            (!self.signals.contains_key(name)).then(|| (name.clone(), watched.heard_at))
        };
        let unknown: Vec<(String, UnixMs)> = self.watched.iter().filter_map(unknown).collect();
        if unknown.len() < MOST_UNKNOWN {
            return true;
        }
        let idle = unknown
            .into_iter()
            .filter(|(_, heard_at)| now.saturating_sub(*heard_at) > IDLE_MS);
        let idle: Vec<String> = idle.map(|(name, _)| name).collect();
        for name in &idle {
            self.retire(name, now);
        }
        !idle.is_empty()
    }

    /// Stops watching a signal. What went on in its series ends.
    fn retire(&mut self, signal: &str, now: UnixMs) {
        let Some(watched) = self.watched.get_mut(signal) else {
            return;
        };
        let mut frame = Frame {
            now,
            ..Frame::default()
        };
        watched.table.forget(&mut frame, UnixMs::MAX);
        let ended = watched.end(signal, &frame);
        self.take(signal, ended, |_| (Coverage::default(), false));
        self.close(signal, &frame.closed);
        self.watched.remove(signal);
        self.status.lock().remove(signal);
    }

    /// Opens a signal's detectors, once.
    async fn open(&mut self, signal: &str) -> Result<(), EngineError> {
        if self.watched.contains_key(signal) {
            return Ok(());
        }
        let (meaning, configs) = match self.signals.get(signal) {
            Some(configured) => (configured.meaning, &configured.detectors),
            None => (Meaning::Other, &self.fallback),
        };
        let memory = self.keeping.as_ref().map(|keeping| &keeping.memory);
        let means = Means {
            plugins: &self.plugins,
            fallback: &self.fallback,
            memory,
        };
        let opened = Watched::open(signal, meaning, configs, means).await;
        let watched = opened.map_err(|(detector, source)| {
            let signal = signal.to_owned();
            EngineError::Detector {
                signal,
                detector,
                source,
            }
        })?;
        self.watched.insert(signal.to_owned(), watched);
        Ok(())
    }

    /// Answers the messages that could not be read to their end.
    async fn observe<'a>(
        &mut self,
        signal: &str,
        arrived: &[Arrived<'a>],
    ) -> Result<Vec<(&'a Delivery, String)>, EngineError> {
        let first_time = self
            .watched
            .get(signal)
            .is_none_or(|watched| watched.table.len() == 0);
        self.open(signal).await?;
        let now = self.cover(signal, arrived);
        if first_time {
            self.begin(signal, arrived, now).await;
        }
        let mut unreadable = Vec::new();
        let Some(watched) = self.watched.get_mut(signal) else {
            return Ok(unreadable);
        };
        let mut frame = Frame {
            now,
            ..Frame::default()
        };
        let mut coverage: HashMap<&Target, (Coverage, bool)> = HashMap::new();
        for message in arrived {
            let target = &message.target;
            match &message.content {
                Content::Read(series) => watched.table.feed(&mut frame, target, series),
                Content::Encoded(series) => {
                    if let Err(error) =
                        watched
                            .table
                            .feed_encoded(&mut frame, target, series.clone())
                    {
                        unreadable.push((
                            message.delivery,
                            format!("{error}; what came before that was used"),
                        ));
                    }
                }
            }
            coverage.insert(target, (message.coverage, message.foreign));
        }
        watched.heard_at = watched.heard_at.max(now);
        watched.table.forget(&mut frame, now);
        watched.status.samples += frame.ids.len() as u64;
        let frame = Arc::new(frame);
        let memory = self.keeping.as_ref().map(|keeping| &keeping.memory);
        let means = Means {
            plugins: &self.plugins,
            fallback: &self.fallback,
            memory,
        };
        let (found, failed) = watched.look(signal, &frame, means).await;
        let witnesses = watched.witnesses(signal, &found, memory).await;
        self.take(signal, found, |target| {
            coverage.get(target).copied().unwrap_or_default()
        });
        for (target, witness) in witnesses {
            self.book.witness(&target, witness);
        }
        self.reaffirm(signal);
        self.close(signal, &frame.closed);
        self.overlooked
            .silences
            .store(self.silence.overlooked, Relaxed);
        if let Some(watched) = self.watched.get_mut(signal) {
            let status = watched.status();
            self.status.lock().insert(signal.to_owned(), status);
        }
        match failed {
            Some((detector, source)) => Err(EngineError::Detector {
                signal: signal.to_owned(),
                detector,
                source,
            }),
            None => Ok(unreadable),
        }
    }

    /// Takes in who answered for a signal, and finds who fell silent. Answers the newest time.
    fn cover(&mut self, signal: &str, arrived: &[Arrived<'_>]) -> UnixMs {
        let mut now = UnixMs::MIN;
        for Arrived {
            target,
            observed_at,
            coverage,
            foreign,
            ..
        } in arrived
        {
            now = now.max(*observed_at);
            self.book.cover(target, signal, *observed_at, *coverage);
            for incident in self.book.adopted() {
                self.silence.restore(&incident);
            }
            if let Some(finding) = self
                .silence
                .observe(signal, target, *observed_at, *coverage)
            {
                let none = Series {
                    labels: finding.labels.clone(),
                    samples: vec![],
                };
                self.events
                    .extend(self.book.take(target, finding, none, *coverage, *foreign));
            }
        }
        now
    }

    /// Takes findings into the book, and marks their series to be saved.
    fn take(
        &mut self,
        signal: &str,
        found: Vec<Named>,
        coverage: impl Fn(&Target) -> (Coverage, bool),
    ) {
        let found: Vec<Named> = found
            .into_iter()
            .filter(|(_, target, finding)| self.is_told(target, finding))
            .collect();
        let Some(watched) = self.watched.get(signal) else {
            return;
        };
        for (id, target, finding) in found {
            let (coverage, foreign) = coverage(&target);
            let samples = watched.table.series(id, finding.at);
            if let Some(keeping) = &mut self.keeping {
                keeping.changed(signal, id);
            }
            self.events
                .extend(self.book.take(&target, finding, samples, coverage, foreign));
        }
    }

    /// Whether a finding is far enough out for what people said about its series; what was told
    /// before goes on being told.
    fn is_told(&self, target: &Target, finding: &Finding) -> bool {
        let Some(feedback) = &self.feedback else {
            return true;
        };
        let threshold =
            feedback.threshold(&finding.signal, target, &finding.labels, &finding.detector);
        let told = finding.phase == Phase::Clear
            || strength(finding) >= threshold
            || self.book.knows(target, finding);
        if !told {
            tracing::info!(
                signal = finding.signal, %target, detector = finding.detector, score = finding.score, threshold,
                "a finding is held back, by what people said of others of its series"
            );
        }
        told
    }

    /// What a detector knows of already, and an engine before this one had told, goes on.
    fn reaffirm(&mut self, signal: &str) {
        let Some(watched) = self.watched.get(signal) else {
            return;
        };
        for detector in &watched.detectors {
            let name = &detector.config.name;
            for (target, finding) in self.book.inherited(signal, name) {
                if watched
                    .table
                    .id(&target, &finding.labels)
                    .is_some_and(|id| detector.knows(id))
                {
                    self.book.reaffirm(&target, signal, &finding.labels, name);
                }
            }
        }
    }

    /// Forgets series that are gone.
    fn close(&mut self, signal: &str, closed: &[u32]) {
        let Some(watched) = self.watched.get_mut(signal) else {
            return;
        };
        for id in closed {
            if let (Some(keeping), Some((target, labels))) =
                (&mut self.keeping, watched.table.get(*id))
            {
                keeping.gone(signal, (target.clone(), labels.clone()));
            }
        }
        watched.table.sweep(closed);
    }

    /// Restores what was saved of a signal, once, and fills in what is missing.
    async fn begin(&mut self, signal: &str, arrived: &[Arrived<'_>], now: UnixMs) {
        let Some(watched) = self.watched.get_mut(signal) else {
            return;
        };
        // Without a sample nothing begins yet.
        let Some(first) = arrived
            .iter()
            .filter_map(|message| message.content.first_at())
            .min()
        else {
            return;
        };
        let beginning = Beginning { signal, first, now };
        let recalled = match std::mem::replace(&mut watched.recalled, true) {
            true => watched
                .detectors
                .iter()
                .map(|_| Recalled::default())
                .collect(),
            false => {
                beginning
                    .recall(watched, self.keeping.as_ref(), &self.book)
                    .await
            }
        };
        let found = beginning
            .fill(watched, &recalled, self.backfill.as_deref())
            .await;
        self.take(signal, found, |_| ANSWERED);
    }

    /// Where another version of a detector is live since, it takes over.
    pub(super) async fn follow_plugins(&mut self) {
        if !self.generation.has_changed().unwrap_or(false) {
            return;
        }
        self.generation.borrow_and_update();
        let memory = self.keeping.as_ref().map(|keeping| &keeping.memory);
        let means = Means {
            plugins: &self.plugins,
            fallback: &self.fallback,
            memory,
        };
        let mut found = Vec::new();
        for (signal, watched) in &mut self.watched {
            found.push((signal.clone(), watched.follow(signal, means).await));
        }
        for (signal, found) in found {
            self.take(&signal, found, |_| ANSWERED);
        }
    }
}

/// Of what was just read from its source, or is at hand.
const ANSWERED: (Coverage, bool) = (
    Coverage {
        asked: 1,
        answered: 1,
        failed: 0,
    },
    false,
);

/// What could be neither looked at nor set aside must come again.
async fn set_aside(
    subscription: &mut dyn Subscription,
    delivery: &Delivery,
    reason: &str,
) -> Result<(), BusError> {
    tracing::warn!(
        offset = delivery.offset,
        partition = delivery.partition,
        reason,
        "a message is set aside"
    );
    subscription.dead_letter(delivery, reason).await
}

async fn publish(bus: &dyn Bus, event: &IncidentEvent) -> Result<(), BusError> {
    let mut record = anomalyzer_wire::incidents::encode(event);
    let mut attempt = 0;
    loop {
        match bus.publish(Topic::Incidents, record.clone()).await {
            Ok(()) => {
                tracing::info!(
                    incident.id = %event.incident.id, target = %event.incident.target, kind = ?event.kind,
                    findings = event.incident.findings.len(), "incident"
                );
                return Ok(());
            }
            Err(BusError::TooLarge { size, limit, .. }) => {
                match anomalyzer_wire::incidents::encode_within(event, limit) {
                    Some(smaller) => {
                        tracing::warn!(incident.id = %event.incident.id, size, limit, "details of an incident are left out");
                        record = smaller;
                    }
                    None => {
                        // Again and again would keep all others from being seen.
                        tracing::error!(
                            incident.id = %event.incident.id, limit, "an incident is too large to be published, whatever is left out"
                        );
                        return Ok(());
                    }
                }
            }
            Err(error) if attempt < PUBLISH_ATTEMPTS && !matches!(error, BusError::Closed) => {
                attempt += 1;
                tracing::warn!(%error, attempt, "cannot publish an incident; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error),
        }
    }
}
