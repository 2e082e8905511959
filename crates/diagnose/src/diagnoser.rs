//! The analyst: reads the events of incidents, diagnoses them, and publishes solutions.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::evidence::{number, serde_name};
use super::ollama::{Ollama, OllamaConfig, OllamaHealth, Role, hash};
use super::{Diagnosis, rules};
use anomalyzer_bus::{Batch, Bus, BusError, Handler, OnReadError, Subscription, consume, retry};
use anomalyzer_common::failpoint::fail_point;
use anomalyzer_domain::{
    Analyst, AnalystKind, Basis, Clock, Delivery, Evidence, IncidentEvent, IncidentEventKind,
    Meaning, Provenance, Solution, Target, Topic, duration, millis, solutions,
};

/// Maximum wait for the first event while no diagnosis runs.
const IDLE_WAIT: Duration = Duration::from_millis(500);
/// Maximum time between the end of a diagnosis and the commit of its event.
const COMMIT_INTERVAL: Duration = Duration::from_millis(20);

/// Bounds of the diagnoses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiagnoserConfig {
    /// Time for which a solution stays valid.
    #[serde(with = "duration")]
    pub solution_lifetime: Duration,
    /// Maximum number of repeated diagnoses of one incident, with the evidence and the results of
    /// earlier actions. After them people are alerted.
    pub most_attempts: u32,
    /// Maximum number of diagnoses that wait or run.
    pub queue: usize,
}

impl Default for DiagnoserConfig {
    fn default() -> Self {
        Self {
            solution_lifetime: Duration::from_secs(300),
            most_attempts: 3,
            queue: 64,
        }
    }
}

/// Returns the solutions that may be proposed for a target now: the actions that are loaded and
/// granted, and `rate_limit` only where it is configured.
pub type Offer = Arc<dyn Fn(&Target) -> Vec<String> + Send + Sync>;

/// The analyst.
pub struct Diagnoser {
    config: DiagnoserConfig,
    ollama: Option<Ollama>,
    breaker: Mutex<Breaker>,
    permits: Semaphore,
    offer: Offer,
    clock: Clock,
}

impl Diagnoser {
    /// Creates an analyst. Without `ollama` the rules decide, and name that as the reason.
    ///
    /// # Errors
    /// The HTTP client cannot be created.
    pub fn new(
        config: DiagnoserConfig,
        ollama: Option<OllamaConfig>,
        offer: Offer,
        clock: Clock,
    ) -> Result<Self, String> {
        let ollama = ollama.map(Ollama::new).transpose()?;
        let (breaker, permits) = match ollama.as_ref().map(Ollama::config) {
            Some(config) => (
                Breaker::new(config.breaker_after, config.breaker_pause, config.timeout),
                config.concurrency.max(1),
            ),
            None => (Breaker::new(1, Duration::ZERO, Duration::ZERO), 1),
        };
        Ok(Self {
            config,
            ollama,
            breaker: Mutex::new(breaker),
            permits: Semaphore::new(permits),
            offer,
            clock,
        })
    }

    /// Returns the state of Ollama, or None if it is not configured.
    pub async fn health(&self) -> Option<OllamaHealth> {
        let ollama = self.ollama.as_ref()?;
        let model = ollama.config().model.clone();
        Some(match ollama.digest().await {
            Ok(digest) => OllamaHealth {
                model,
                digest: Some(digest),
                problem: None,
            },
            Err(problem) => OllamaHealth {
                model,
                digest: None,
                problem: Some(problem),
            },
        })
    }

    /// Diagnoses one event with the solutions that may be proposed now; see
    /// [`Self::diagnose_from`].
    pub async fn diagnose(&self, event: &IncidentEvent) -> (Diagnosis, Vec<Evidence>) {
        self.diagnose_from(event, &self.offered(event)).await
    }

    /// Diagnoses one event with the solutions in `offered`. The model decides if it is configured
    /// and gives a usable answer. Otherwise the rules decide, and name the reason.
    #[tracing::instrument(name = "diagnose", skip_all, fields(incident.id = %event.incident.id))]
    pub async fn diagnose_from(
        &self,
        event: &IncidentEvent,
        offered: &[String],
    ) -> (Diagnosis, Vec<Evidence>) {
        let evidence = number(event);
        let started = Instant::now();
        let by_rules = |why: String| Diagnosis {
            proposals: rules::propose(event, offered),
            cites: evidence.iter().take(3).map(|one| one.id.clone()).collect(),
            analyst: Analyst {
                why_rules: Some(why),
                ..Analyst::of(AnalystKind::Rules)
            },
        };
        let Some(ollama) = &self.ollama else {
            return (by_rules("no ollama is configured".into()), evidence);
        };
        if self.is_last_attempt(event) {
            let why = format!("{} diagnoses did not help: people are told", event.attempt);
            return (by_rules(why), evidence);
        }
        if !event.incident.is_open() {
            return (
                by_rules("the incident is over: nothing to ask a model".into()),
                evidence,
            );
        }
        let left_alone = || {
            let pause = ollama.config().breaker_pause;
            by_rules(format!(
                "ollama failed repeatedly and is left alone for {pause:?}"
            ))
        };
        if self.breaker.lock().await.refuses(Instant::now()) {
            return (left_alone(), evidence);
        }
        let time_limit = ollama.config().timeout;
        let Ok(Ok(_permit)) = tokio::time::timeout(time_limit, self.permits.acquire()).await else {
            return (
                by_rules(format!(
                    "ollama was busy with other incidents for {time_limit:?}"
                )),
                evidence,
            );
        };
        // Others may have failed while this one waited for its place.
        if !self.breaker.lock().await.admit(Instant::now()) {
            return (left_alone(), evidence);
        }
        // The time-out of the client covers one request. This one covers all requests together.
        let asked = tokio::time::timeout(time_limit, ollama.ask(event, &evidence, offered)).await;
        match asked {
            Ok(Ok(diagnosis)) => {
                self.breaker.lock().await.succeeded();
                if ollama.config().role == Role::Advise {
                    return (advised(diagnosis, by_rules), evidence);
                }
                (diagnosis, evidence)
            }
            Ok(Err(useless)) => {
                self.breaker.lock().await.failed(Instant::now());
                tracing::warn!(
                    why = useless.why,
                    "the model gave no usable answer; the rules decide"
                );
                let mut diagnosis = by_rules(useless.why);
                let analyst = &mut diagnosis.analyst;
                analyst.took_ms = useless.took_ms;
                analyst.model = Some(ollama.config().model.clone());
                analyst.digest = useless.digest;
                analyst.prompt_sha256 = Some(hash(&useless.prompt));
                analyst.prompt = Some(useless.prompt);
                analyst.raw_answer = useless.raw_answer;
                (diagnosis, evidence)
            }
            Err(_) => {
                self.breaker.lock().await.failed(Instant::now());
                let mut diagnosis =
                    by_rules(format!("ollama did not answer within {time_limit:?}"));
                diagnosis.analyst.took_ms =
                    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                diagnosis.analyst.model = Some(ollama.config().model.clone());
                (diagnosis, evidence)
            }
        }
    }

    /// Returns the solutions that may be proposed for an event now.
    fn offered(&self, event: &IncidentEvent) -> Vec<String> {
        let missing = event
            .incident
            .active()
            .any(|finding| finding.meaning == Meaning::Coverage);
        let again = event.kind == IncidentEventKind::Gathered;
        let last = self.is_last_attempt(event);
        (self.offer)(&event.incident.target)
            .into_iter()
            .filter(|name| !last || name == solutions::ALARM)
            .filter(|name| match name.as_str() {
                solutions::SCALE_DOWN | solutions::RESTART_SERVICE => !missing,
                solutions::CHECK_LOGS | solutions::INVESTIGATE => !again,
                _ => true,
            })
            .collect()
    }

    /// Returns true if all attempts are used. An incident that no action helps ends with an alert
    /// to people.
    fn is_last_attempt(&self, event: &IncidentEvent) -> bool {
        event.attempt > self.config.most_attempts
    }

    /// Diagnoses an event and returns the first proposal as a solution, if there is one.
    pub async fn solve(&self, event: &IncidentEvent) -> Option<Solution> {
        let offered = self.offered(event);
        let (diagnosis, evidence) = self.diagnose_from(event, &offered).await;
        let incident = &event.incident;
        let mut proposals = diagnosis.proposals.into_iter();
        let first = proposals.next()?;
        let worst = incident.most_severe().map_or_else(
            || "unknown".to_owned(),
            |worst| format!("{}_{}", worst.signal, serde_name(&worst.direction)),
        );
        let id = Solution::id_of(&incident.id, &first.solution_type, event.attempt);
        let now = (self.clock)();
        let lifetime = millis(self.config.solution_lifetime);
        Some(Solution {
            anomaly_type: worst,
            solution_type: first.solution_type,
            explanation: first.explanation,
            id: id.to_string(),
            incident: Some(incident.id.clone()),
            target: Some(incident.target.clone()),
            parameters: first.parameters,
            confidence: first.confidence,
            evidence,
            cites: diagnosis.cites,
            alternatives: proposals.collect(),
            analyst: diagnosis.analyst,
            provenance: Provenance {
                source: Provenance::ENGINE.into(),
                by: "analyst".into(),
            },
            attempt: event.attempt,
            proposed_at: now,
            expires_at: now.saturating_add(lifetime),
            basis: Some(Box::new(Basis {
                event: event.clone(),
                offered,
            })),
        })
    }

    /// Runs until `shutdown`: reads `incidents-topic` and publishes on `ai-solutions-topic`. Each
    /// diagnosis runs in a task of its own, so that a slow model delays no other event. An event is
    /// committed when its solution and those of all earlier events are durable, or when it is set
    /// aside.
    ///
    /// # Errors
    /// The bus stayed unavailable.
    pub async fn run(
        self: Arc<Self>,
        bus: Arc<dyn Bus>,
        group: &str,
        shutdown: CancellationToken,
    ) -> Result<(), BusError> {
        let mut subscription = bus.subscribe(Topic::Incidents, group).await?;
        // Stops the tasks that are still running, also if this ends with an error.
        let stop = shutdown.child_token();
        let _end = stop.clone().drop_guard();
        let batch = Batch {
            topic: Topic::Incidents,
            max: self.config.queue.max(1),
            wait: IDLE_WAIT,
            on_error: OnReadError::Retry,
        };
        let mut worker = Worker {
            diagnoser: self,
            bus,
            stop,
            running: VecDeque::new(),
        };
        consume(subscription.as_mut(), batch, &shutdown, &mut worker).await?;
        for (_, task) in worker.running {
            task.abort();
        }
        Ok(())
    }

    /// Diagnoses an event that asks for a diagnosis, and publishes the solution.
    async fn answer(
        &self,
        bus: &dyn Bus,
        event: &IncidentEvent,
        stop: &CancellationToken,
    ) -> Answered {
        let wanted = matches!(
            event.kind,
            IncidentEventKind::Confirmed | IncidentEventKind::Gathered
        );
        // One more than the attempts, for the alert.
        if !wanted || event.attempt > self.config.most_attempts.saturating_add(1) {
            return Answered::Done;
        }
        match self.solve(event).await {
            Some(solution) => publish(bus, solution, stop).await,
            None => Answered::Done,
        }
    }
}

/// Publishes a solution, and retries while the bus is unavailable.
#[tracing::instrument(
    skip_all,
    fields(incident.id = solution.incident.as_ref().map(|id| id.as_str()), decision.id = solution.id)
)]
async fn publish(bus: &dyn Bus, solution: Solution, stop: &CancellationToken) -> Answered {
    tracing::info!(
        solution = solution.solution_type, analyst = ?solution.analyst.kind,
        took_ms = solution.analyst.took_ms, "diagnosed"
    );
    fail_point("before", "solution_published");
    let record = anomalyzer_wire::solutions::encode(&solution);
    let mut published = retry::publish(bus, Topic::Solutions, record, stop).await;
    if matches!(published, Err(BusError::TooLarge { .. })) {
        // Without its basis the solution can be carried out, but not diagnosed again from its
        // record.
        let bare = Solution {
            basis: None,
            ..solution
        };
        let record = anomalyzer_wire::solutions::encode(&bare);
        published = retry::publish(bus, Topic::Solutions, record, stop).await;
    }
    fail_point("after", "solution_published");
    match published {
        Ok(()) => Answered::Done,
        Err(error @ BusError::TooLarge { .. }) => {
            Answered::Unusable(format!("its solution cannot be published: {error}"))
        }
        Err(_) => Answered::Stopped,
    }
}

/// The outcome of an event.
enum Answered {
    /// All effects of the event are durable.
    Done,
    /// The event can never have an effect, for this reason.
    Unusable(String),
    /// The shutdown came first. The event must be delivered again.
    Stopped,
}

/// Diagnoses events in tasks, and commits them in their order.
struct Worker {
    diagnoser: Arc<Diagnoser>,
    bus: Arc<dyn Bus>,
    stop: CancellationToken,
    /// The events whose diagnosis runs or is not committed, oldest first.
    running: VecDeque<(Delivery, JoinHandle<Answered>)>,
}

impl Worker {
    /// Starts the diagnosis of an event.
    fn start(&mut self, delivery: Delivery) {
        let task = match anomalyzer_wire::incidents::decode(&delivery) {
            Ok(event) => {
                let (diagnoser, bus) = (Arc::clone(&self.diagnoser), Arc::clone(&self.bus));
                let stop = self.stop.clone();
                tokio::spawn(async move { diagnoser.answer(bus.as_ref(), &event, &stop).await })
            }
            Err(error) => tokio::spawn(async move { Answered::Unusable(error.to_string()) }),
        };
        self.running.push_back((delivery, task));
    }

    /// Commits the finished events at the front, and sets the unusable ones aside.
    ///
    /// # Errors
    /// [`BusError::Closed`] if the shutdown was requested.
    async fn commit_finished(
        &mut self,
        subscription: &mut dyn Subscription,
    ) -> Result<(), BusError> {
        while let Some((delivery, task)) = self.running.pop_front_if(|(_, task)| task.is_finished())
        {
            match task.await {
                Ok(Answered::Done) => {}
                Ok(Answered::Unusable(why)) => {
                    retry::set_aside(subscription, &delivery, &why, &self.stop).await?;
                }
                Ok(Answered::Stopped) => return Err(BusError::Closed),
                Err(error) => {
                    let why =
                        format!("its diagnosis ended with a defect, please report it: {error}");
                    retry::set_aside(subscription, &delivery, &why, &self.stop).await?;
                }
            }
            if let Err(error) = subscription.commit(&delivery).await {
                tracing::warn!(%error, "cannot commit; the event will be delivered again");
            }
        }
        Ok(())
    }
}

impl Handler for Worker {
    type Error = BusError;

    async fn before_read(
        &mut self,
        subscription: &mut dyn Subscription,
        batch: Batch,
    ) -> Result<ControlFlow<(), Batch>, BusError> {
        match self.commit_finished(subscription).await {
            Err(BusError::Closed) => return Ok(ControlFlow::Break(())),
            result => result?,
        }
        let wait = if self.running.is_empty() {
            batch.wait
        } else {
            COMMIT_INTERVAL
        };
        Ok(ControlFlow::Continue(Batch {
            max: batch.max.saturating_sub(self.running.len()),
            wait,
            ..batch
        }))
    }

    async fn handle(
        &mut self,
        deliveries: Vec<Delivery>,
        _: &mut dyn Subscription,
    ) -> Result<ControlFlow<()>, BusError> {
        for delivery in deliveries {
            self.start(delivery);
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Returns the diagnosis of the rules, with the whole answer of the model on record.
fn advised(model: Diagnosis, by_rules: impl FnOnce(String) -> Diagnosis) -> Diagnosis {
    let first = model.proposals.first();
    let (choice, confidence) = first.map_or(("nothing", 0.0), |first| {
        (first.solution_type.as_str(), first.confidence)
    });
    let mut diagnosis = by_rules(format!(
        "the model only advises here; it chose {choice} with confidence {confidence}"
    ));
    diagnosis.analyst = Analyst {
        kind: AnalystKind::Rules,
        why_rules: diagnosis.analyst.why_rules,
        ..model.analyst
    };
    diagnosis
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_bus::fake::{Failing, FakeBus};
    use anomalyzer_domain::{Record, testing};

    fn event(attempt: u32) -> IncidentEvent {
        let incident = testing::incident("inc-1", vec![testing::finding("latency")]);
        IncidentEvent {
            attempt,
            ..IncidentEvent::new(IncidentEventKind::Gathered, 0, incident)
        }
    }

    fn diagnoser() -> Arc<Diagnoser> {
        let offer: Offer = Arc::new(|_| {
            [solutions::ALARM, solutions::RESTART_SERVICE]
                .map(str::to_owned)
                .to_vec()
        });
        Arc::new(Diagnoser::new(DiagnoserConfig::default(), None, offer, Arc::new(|| 0)).unwrap())
    }

    /// Runs the analyst on these messages until all of them are committed.
    async fn run(bus: &FakeBus, messages: Vec<Record>) {
        let many = messages.len();
        for message in messages {
            bus.offer(Topic::Incidents, message);
        }
        let shutdown = CancellationToken::new();
        let running = diagnoser().run(Arc::new(bus.clone()), "test", shutdown.clone());
        let watching = async {
            while bus.committed().len() < many {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            shutdown.cancel();
        };
        let both = async { tokio::join!(running, watching) };
        let (ran, ()) = tokio::time::timeout(Duration::from_secs(3_600), both)
            .await
            .unwrap();
        ran.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_committed_only_when_its_solution_is_published_however_long_that_takes() {
        let bus = FakeBus::default();
        bus.fail(Failing {
            publish: 100,
            ..Failing::default()
        });
        run(&bus, vec![anomalyzer_wire::incidents::encode(&event(0))]).await;
        assert_eq!(
            (bus.published(Topic::Solutions).len(), bus.committed()),
            (1, vec![0])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_committed_only_when_it_is_set_aside() {
        let bus = FakeBus::default();
        bus.fail(Failing {
            dead_letter: 70,
            ..Failing::default()
        });
        let garbage = Record {
            payload: b"{".as_slice().into(),
            ..Record::default()
        };
        run(
            &bus,
            vec![garbage, anomalyzer_wire::incidents::encode(&event(0))],
        )
        .await;
        let set_aside = bus.set_aside();
        assert!(
            matches!(&set_aside[..], [(0, why)] if why.contains("an incident event")),
            "{set_aside:?}"
        );
        assert_eq!(
            (bus.committed(), bus.published(Topic::Solutions).len()),
            (vec![0, 1], 1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn told_to_stop_while_the_bus_is_away_nothing_is_committed() {
        let bus = FakeBus::default();
        bus.fail(Failing {
            publish: u32::MAX,
            ..Failing::default()
        });
        bus.offer(
            Topic::Incidents,
            anomalyzer_wire::incidents::encode(&event(0)),
        );
        let shutdown = CancellationToken::new();
        let running = diagnoser().run(Arc::new(bus.clone()), "test", shutdown.clone());
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(300)).await;
            shutdown.cancel();
        };
        let (ran, ()) = tokio::join!(running, stopping);
        ran.unwrap();
        assert_eq!(
            (bus.committed(), bus.published(Topic::Solutions).len()),
            (vec![], 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_attempts_are_used_people_are_told_and_then_nothing_more_is_asked() {
        let attempts = DiagnoserConfig::default().most_attempts;
        let bus = FakeBus::default();
        let events = [attempts, attempts + 1, attempts + 2]
            .map(|attempt| anomalyzer_wire::incidents::encode(&event(attempt)));
        run(&bus, events.to_vec()).await;
        let last = diagnoser().solve(&event(attempts + 1)).await.unwrap();
        assert_eq!(last.solution_type, solutions::ALARM);
        assert!(last.alternatives.is_empty(), "{:?}", last.alternatives);
        assert_eq!(bus.published(Topic::Solutions).len(), 2);
    }
}
