//! The detection loop: messages become frames, frames become findings, findings become incidents,
//! and the events of incidents are published before the messages are committed.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::absence::AbsenceDetector;
use super::backfill::Backfill;
use super::batch::{self, Message, Unreadable};
use super::checkpointer::Checkpointer;
use super::context::DetectContext;
use super::correlator::{IncidentCorrelator, SampleOrigin};
use super::detector::SeriesFinding;
use super::dropped::DroppedCounters;
use super::feedback::Feedback;
use super::pauses::CollectorSilence;
use super::progress::EngineProgress;
use super::publish::{publish_events, set_aside};
use super::quarantine::DetectorFailure;
use super::recorder::IncidentRecorder;
use super::replay_context::replay_contexts;
use super::signal_state::{DetectStatus, SignalState};
use super::state_store::StateStore;
use super::warm_start::WarmStart;
use anomalyzer_bus::{self as bus, Batch, Bus, BusError, OnReadError, Subscription};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::failpoint::fail_point;
use anomalyzer_common::pause_watch::{Pause, PauseWatch};
use anomalyzer_domain::{
    Coverage, Delivery, DetectorConfig, Meaning, Target, Topic, UnixMs, WatchedSignal,
};
use anomalyzer_plugin_host::{Frame, PluginError, Plugins};
use anomalyzer_wire::AcceptedTime;

/// Bounds of one read. The samples of a batch make one frame per signal.
const BATCH: Batch = Batch {
    topic: Topic::Metrics,
    max: 512,
    wait: Duration::from_millis(500),
    on_error: OnReadError::Retry,
};
/// Maximum number of incident events that are published together.
const MAX_EVENTS: usize = 256;
/// Maximum number of watched signals that are not configured. Each one has detectors of its own,
/// which need memory.
const MAX_UNCONFIGURED: usize = 256;
/// Time without messages after which a signal that is not configured makes room for another one.
const IDLE_MS: i64 = 60 * 60 * 1000;

/// The origin of replayed samples, from the backfill or from memory. They count as the answer of
/// one source.
const ANSWERED: SampleOrigin = SampleOrigin {
    coverage: Coverage {
        asked: 1,
        answered: 1,
        failed: 0,
    },
    foreign: false,
};

/// The reason why the engine stopped.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The bus failed.
    #[error("detect: {0}")]
    Bus(#[from] BusError),
    /// A detector does not open, or failed.
    #[error("signal `{signal}`: detector `{detector}`: {source}")]
    Detector {
        /// The signal.
        signal: String,
        /// The detector.
        detector: String,
        /// The failure.
        source: PluginError,
    },
}

impl EngineError {
    fn of(signal: &str, failure: DetectorFailure) -> Self {
        Self::Detector {
            signal: signal.to_owned(),
            detector: failure.detector,
            source: failure.source,
        }
    }
}

/// The detection engine.
pub struct Engine {
    bus: Arc<dyn Bus>,
    context: DetectContext,
    configured: HashMap<String, WatchedSignal>,
    signals: HashMap<String, SignalState>,
    incidents: IncidentRecorder,
    backfill: Option<Arc<dyn Backfill>>,
    checkpointer: Option<Checkpointer>,
    status: Arc<Mutex<BTreeMap<String, DetectStatus>>>,
    dropped: Arc<DroppedCounters>,
    progress: Arc<EngineProgress>,
    pauses: PauseWatch,
    silence: CollectorSilence,
    /// Changes when a plugin changes.
    generation: watch::Receiver<u64>,
}

impl Engine {
    /// Creates an engine without state store, backfill, feedback and shared status. `fallback` are
    /// the detectors of signals that are not configured. `silent_after` is the time after which a
    /// signal without an answer of its sources is a finding.
    pub fn new(
        bus: Arc<dyn Bus>,
        plugins: Plugins,
        signals: Vec<WatchedSignal>,
        fallback: Vec<DetectorConfig>,
        correlator: IncidentCorrelator,
        silent_after: Duration,
    ) -> Self {
        let own_times = signals
            .iter()
            .filter_map(|signal| Some((signal.name.clone(), signal.confirm_after?)));
        let correlator = correlator.with_signal_times(own_times.collect());
        let configured = signals
            .into_iter()
            .map(|signal| (signal.name.clone(), signal));
        Self {
            bus,
            generation: plugins.generation(),
            context: DetectContext {
                plugins,
                fallback,
                store: None,
            },
            configured: configured.collect(),
            signals: HashMap::new(),
            incidents: IncidentRecorder::new(correlator, AbsenceDetector::new(silent_after)),
            backfill: None,
            checkpointer: None,
            status: Arc::default(),
            dropped: Arc::default(),
            progress: Arc::default(),
            pauses: PauseWatch::default(),
            silence: CollectorSilence::default(),
        }
    }

    /// Lets the engine save the state of detectors in `store`, and start with the state in it.
    #[must_use]
    pub fn with_state_store(mut self, store: StateStore) -> Self {
        self.context.store = Some(store.clone());
        self.checkpointer = Some(Checkpointer::new(store));
        self
    }

    /// Reads the past of new series from `backfill`, if there is one.
    #[must_use]
    pub fn with_backfill(mut self, backfill: Option<Arc<dyn Backfill>>) -> Self {
        self.backfill = backfill;
        self
    }

    /// Holds back findings below the thresholds that feedback set.
    #[must_use]
    pub fn with_feedback(mut self, feedback: Feedback) -> Self {
        self.incidents.feedback = Some(feedback);
        self
    }

    /// Writes the status of each signal to `status`.
    #[must_use]
    pub fn with_status(mut self, status: Arc<Mutex<BTreeMap<String, DetectStatus>>>) -> Self {
        self.status = status;
        self
    }

    /// Counts dropped input in `dropped`.
    #[must_use]
    pub fn with_dropped(mut self, dropped: Arc<DroppedCounters>) -> Self {
        self.dropped = dropped;
        self
    }

    /// Notes its progress in `progress`.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<EngineProgress>) -> Self {
        self.progress = progress;
        self
    }

    /// Opens the detectors of every configured signal, so that a wrong setting fails the start.
    ///
    /// # Errors
    /// A detector does not exist or refuses its settings.
    pub async fn open_configured(&mut self) -> Result<(), EngineError> {
        let names: Vec<String> = self.configured.keys().cloned().collect();
        for name in names {
            self.open(&name).await?;
        }
        Ok(())
    }

    /// Runs until `shutdown`, then saves the state of the detectors. A message is committed after
    /// the events that follow from it are durable.
    ///
    /// # Errors
    /// The bus stayed unavailable.
    pub async fn run(
        mut self,
        group: &str,
        shutdown: CancellationToken,
    ) -> Result<(), EngineError> {
        let _watching = AbortOnDropHandle::new(tokio::spawn(self.pauses.clone().run()));
        let ended = self.consume(group, &shutdown).await;
        self.progress.end();
        if let Some(checkpointer) = &mut self.checkpointer {
            checkpointer.save_all(&mut self.signals).await;
        }
        ended
    }

    async fn consume(
        &mut self,
        group: &str,
        shutdown: &CancellationToken,
    ) -> Result<(), EngineError> {
        let mut subscription = self.bus.subscribe(Topic::Metrics, group).await?;
        bus::consume(subscription.as_mut(), BATCH, shutdown, self).await?;
        Ok(())
    }

    /// Processes a batch of messages: opens them, evaluates signal by signal, publishes the events
    /// that are due, and commits.
    ///
    /// # Errors
    /// An event could not be published, or a message could not be set aside. The batch is not
    /// committed then.
    #[tracing::instrument(name = "batch", skip_all, fields(messages = deliveries.len()))]
    pub async fn process_batch(
        &mut self,
        deliveries: &[Delivery],
        subscription: &mut dyn Subscription,
    ) -> Result<(), EngineError> {
        let clock = now_ms();
        let believed = AcceptedTime::at(clock);
        let (messages, unreadable) = batch::open(deliveries, believed);
        let newest = batch::newest_own_time(&messages);
        self.progress
            .note(clock, newest, messages.len(), unreadable.len());
        self.dropped
            .unreadable
            .fetch_add(unreadable.len() as u64, Relaxed);
        set_all_aside(subscription, unreadable).await?;
        self.excuse_collector(clock, &messages);
        let now = batch::reached_time(&messages, clock);
        self.incidents.correlator.bound(believed.latest());

        let (misplaced, ours): (Vec<_>, Vec<_>) = messages
            .into_iter()
            .partition(|message| self.bus.is_partitioned() && message.has_foreign_key());
        let not_moved = self.republish(misplaced).await;

        for (signal, messages) in batch::by_signal(ours.iter().chain(&not_moved)) {
            self.process_signal(signal, &messages, (now, believed), subscription)
                .await?;
        }
        // Without a readable message, the batch has no time.
        if now > UnixMs::MIN {
            self.incidents.advance(now);
        }
        self.publish().await?;
        commit(subscription, deliveries).await;
        Ok(())
    }

    /// Excuses the pauses that the collector reports in its messages, and the time in which it was
    /// silent until the present `clock`.
    fn excuse_collector(&mut self, clock: UnixMs, messages: &[Message<'_>]) {
        let own = messages.iter().filter(|message| message.is_own());
        let mut pauses: Vec<Pause> = own.clone().filter_map(|message| message.paused).collect();
        pauses.dedup();
        if own.count() > 0 {
            pauses.extend(self.silence.hear(clock));
        }
        for pause in pauses {
            self.incidents.excuse(pause);
        }
    }

    /// Publishes the pending events, and saves the state that belongs to them. The messages behind
    /// them may be committed after this.
    async fn publish(&mut self) -> Result<(), BusError> {
        for events in self.incidents.take_events().chunks(MAX_EVENTS) {
            fail_point("before", "incident_published");
            publish_events(self.bus.as_ref(), events).await?;
            fail_point("after", "incident_published");
            for event in events {
                self.incidents.note_published(event);
            }
        }
        if let Some(checkpointer) = &mut self.checkpointer {
            checkpointer.before_commit(&mut self.signals).await;
        }
        Ok(())
    }

    /// Publishes messages again under the keys of their targets, so that one engine gets all
    /// samples of a target. The messages are of other producers, which chose other keys. Waits
    /// until they are durable, because the caller commits the originals afterwards. Returns the
    /// messages that could not be published: this engine evaluates them.
    async fn republish<'a>(&self, misplaced: Vec<Message<'a>>) -> Vec<Message<'a>> {
        let published = misplaced.iter().map(|message| {
            let record = anomalyzer_wire::metrics::encode(&message.to_foreign_batch());
            self.bus.publish_confirmed(Topic::Metrics, record)
        });
        let published = futures::future::join_all(published).await;
        let mut not_moved = Vec::new();
        for (message, published) in misplaced.into_iter().zip(published) {
            if let Err(error) = published {
                let signal = &message.signal;
                tracing::warn!(signal, %error, "samples of another producer keep their key");
                not_moved.push(message);
            }
        }
        not_moved
    }

    /// Evaluates the messages of a signal, and sets the unreadable ones aside. If the evaluation
    /// fails, all messages of the signal are set aside.
    async fn process_signal(
        &mut self,
        signal: &str,
        messages: &[&Message<'_>],
        (now, believed): (UnixMs, AcceptedTime),
        subscription: &mut dyn Subscription,
    ) -> Result<(), BusError> {
        if !self.has_room_for(signal, now) {
            let count = messages.len() as u64;
            self.dropped.count_messages(signal, count, MAX_UNCONFIGURED);
            return Ok(());
        }
        match self.evaluate_signal(signal, messages, believed).await {
            Ok(unreadable) => set_all_aside(subscription, unreadable).await,
            Err(error) => {
                tracing::error!(signal, %error, "cannot evaluate the samples of a signal");
                let reason = error.to_string();
                for message in messages {
                    set_aside(subscription, message.delivery, &reason).await?;
                }
                Ok(())
            }
        }
    }

    /// Evaluates the messages of a signal: updates the coverage, starts the signal if it is new,
    /// lets its detectors evaluate a frame, and records their findings. Returns the messages that
    /// could not be read to their end.
    #[tracing::instrument(skip_all, fields(signal))]
    async fn evaluate_signal<'a>(
        &mut self,
        signal: &str,
        messages: &[&Message<'a>],
        believed: AcceptedTime,
    ) -> Result<Vec<Unreadable<'a>>, EngineError> {
        let known = self.signals.get(signal);
        let is_new = known.is_none_or(|state| state.table.len() == 0);
        self.open(signal).await?;
        self.incidents.update_coverage(signal, messages);
        let now = batch::newest_time(messages.iter().copied());
        if is_new {
            self.warm_start(signal, messages, now).await;
        }
        let Some(state) = self.signals.get_mut(signal) else {
            return Ok(vec![]);
        };
        let (frame, unreadable) = state.feed(messages, now, believed.latest());
        let frame = Arc::new(frame);
        let evaluation = state.evaluate(signal, &frame, &self.context).await;
        let store = self.context.store.as_ref();
        let contexts = replay_contexts(state, signal, &evaluation.findings, store).await;

        let origins: HashMap<&Target, SampleOrigin> = messages
            .iter()
            .map(|message| (&message.target, message.origin))
            .collect();
        self.record_findings(signal, evaluation.findings, |target| {
            origins.get(target).copied().unwrap_or_default()
        });
        if let Some(state) = self.signals.get(signal) {
            self.incidents.confirm(signal, state, contexts);
        }
        self.free_closed(signal, &frame.closed);
        self.update_status(signal);
        match evaluation.failed {
            Some(failure) => Err(EngineError::of(signal, failure)),
            None => Ok(unreadable),
        }
    }

    /// Returns true if a signal can be watched. A signal that is not configured may need another
    /// one to be idle.
    fn has_room_for(&mut self, signal: &str, now: UnixMs) -> bool {
        if self.configured.contains_key(signal) || self.signals.contains_key(signal) {
            return true;
        }
        let unconfigured = self
            .signals
            .iter()
            .filter(|(name, _)| !self.configured.contains_key(*name));
        let (mut count, mut idle) = (0, Vec::new());
        for (name, state) in unconfigured {
            count += 1;
            if now.saturating_sub(state.heard_at) > IDLE_MS {
                idle.push(name.clone());
            }
        }
        if count < MAX_UNCONFIGURED {
            return true;
        }
        for name in &idle {
            self.retire(name, now);
        }
        !idle.is_empty()
    }

    /// Stops watching a signal, and ends the ongoing anomalies of its series.
    fn retire(&mut self, signal: &str, now: UnixMs) {
        let Some(state) = self.signals.get_mut(signal) else {
            return;
        };
        let mut frame = Frame {
            now,
            ..Frame::default()
        };
        state.table.close_idle(&mut frame, UnixMs::MAX);
        let ended = state.end_closed(signal, &frame);
        self.record_findings(signal, ended, |_| SampleOrigin::default());
        self.free_closed(signal, &frame.closed);
        self.signals.remove(signal);
        self.status.lock().remove(signal);
    }

    /// Opens the detectors of a signal, unless they are open.
    async fn open(&mut self, signal: &str) -> Result<(), EngineError> {
        if self.signals.contains_key(signal) {
            return Ok(());
        }
        let (meaning, detectors) = match self.configured.get(signal) {
            Some(configured) => (configured.meaning, &configured.detectors),
            None => (Meaning::Other, &self.context.fallback),
        };
        let state = SignalState::open(signal, meaning, detectors, &self.context)
            .await
            .map_err(|failure| EngineError::of(signal, failure))?;
        self.signals.insert(signal.to_owned(), state);
        Ok(())
    }

    /// Restores the saved state of a signal, and replays the samples since then. Without a sample
    /// in the messages the start waits for the next batch.
    async fn warm_start(&mut self, signal: &str, messages: &[&Message<'_>], now: UnixMs) {
        let times = messages
            .iter()
            .filter_map(|message| message.content.first_at());
        let (Some(state), Some(first)) = (self.signals.get_mut(signal), times.min()) else {
            return;
        };
        let start = WarmStart { signal, first, now };
        let store = self.context.store.as_ref();
        let correlator = &self.incidents.correlator;
        let reports = start.restore(state, store, correlator).await;
        let found = start
            .replay(state, &reports, self.backfill.as_deref())
            .await;
        self.record_findings(signal, found, |_| ANSWERED);
    }

    /// Records the findings above their thresholds, and marks their series to be saved.
    fn record_findings(
        &mut self,
        signal: &str,
        found: Vec<SeriesFinding>,
        origin: impl Fn(&Target) -> SampleOrigin,
    ) {
        let Some(state) = self.signals.get(signal) else {
            return;
        };
        for found in self.incidents.above_threshold(found) {
            let SeriesFinding {
                series,
                target,
                finding,
            } = found;
            if let Some(checkpointer) = &mut self.checkpointer {
                checkpointer.mark_changed(signal, series);
            }
            let samples = state.table.series(series, finding.at);
            self.incidents
                .record(&target, finding, samples, origin(&target));
        }
    }

    /// Frees closed series, and marks their saved state to be forgotten.
    fn free_closed(&mut self, signal: &str, closed: &[u32]) {
        let Some(state) = self.signals.get_mut(signal) else {
            return;
        };
        if let Some(checkpointer) = &mut self.checkpointer {
            for (target, labels) in closed.iter().filter_map(|id| state.table.get(*id)) {
                checkpointer.mark_gone(signal, (target.clone(), labels.clone()));
            }
        }
        state.table.free(closed);
    }

    fn update_status(&mut self, signal: &str) {
        let absences = self.incidents.absence.dropped;
        self.dropped.silences.store(absences, Relaxed);
        if let Some(state) = self.signals.get_mut(signal) {
            let status = state.status();
            self.status.lock().insert(signal.to_owned(), status);
        }
    }

    /// Replaces the instances of changed plugins by instances of their live versions.
    pub(super) async fn follow_plugins(&mut self) {
        if !self.generation.has_changed().unwrap_or(false) {
            return;
        }
        self.generation.borrow_and_update();
        let mut found = Vec::new();
        for (signal, state) in &mut self.signals {
            found.push((signal.clone(), state.follow(signal, &self.context).await));
        }
        for (signal, found) in found {
            self.record_findings(&signal, found, |_| ANSWERED);
        }
    }
}

impl bus::Handler for Engine {
    type Error = EngineError;

    async fn before_read(
        &mut self,
        _: &mut dyn Subscription,
        batch: Batch,
    ) -> Result<ControlFlow<(), Batch>, EngineError> {
        if let Some(checkpointer) = &mut self.checkpointer {
            checkpointer.save_if_due(&mut self.signals).await;
        }
        Ok(ControlFlow::Continue(batch))
    }

    async fn handle(
        &mut self,
        deliveries: Vec<Delivery>,
        subscription: &mut dyn Subscription,
    ) -> Result<ControlFlow<()>, EngineError> {
        for pause in self.pauses.take() {
            self.incidents.excuse(pause);
        }
        self.progress.begin();
        if deliveries.is_empty() {
            self.progress.caught_up();
            // Incidents are confirmed and end also while no message arrives, but not while the
            // collector is silent: nobody knows what happens then.
            self.incidents.advance(self.silence.known_until(now_ms()));
            self.publish().await?;
        } else {
            self.follow_plugins().await;
            self.process_batch(&deliveries, subscription).await?;
        }
        self.progress.end();
        Ok(ControlFlow::Continue(()))
    }
}

async fn set_all_aside(
    subscription: &mut dyn Subscription,
    unreadable: Vec<Unreadable<'_>>,
) -> Result<(), BusError> {
    for Unreadable { delivery, reason } in unreadable {
        set_aside(subscription, delivery, &reason).await?;
    }
    Ok(())
}

/// Commits a batch. After a failure the messages are delivered again, and are recognised by their
/// watermarks and ids.
async fn commit(subscription: &mut dyn Subscription, deliveries: &[Delivery]) {
    for delivery in batch::last_of_partitions(deliveries) {
        if let Err(error) = subscription.commit(delivery).await {
            tracing::warn!(%error, "cannot commit; the messages will be delivered again");
        }
    }
}
