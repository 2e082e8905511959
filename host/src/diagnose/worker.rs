//! The loop: incident events in, solutions out.

use std::collections::VecDeque;
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
use crate::bus::{Bus, BusError, Subscription, again};
use crate::codec;
use crate::common::failpoint::fail_point;
use crate::domain::{
    Analyst, AnalystKind, Basis, Clock, Delivery, Evidence, IncidentEvent, IncidentEventKind,
    Meaning, Provenance, Solution, Target, Topic, duration, millis, solutions,
};

/// How diagnoses are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiagnoserConfig {
    /// How long a solution stays valid.
    #[serde(with = "duration")]
    pub solution_lifetime: Duration,
    /// How often one incident is diagnosed again with what was gathered or tried. After that people
    /// are told.
    pub most_attempts: u32,
    /// Diagnoses waiting or under way.
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

/// What may be proposed now: the actions that are loaded and granted, `rate_limit` only where it is
/// configured.
pub type Offer = Arc<dyn Fn(&Target) -> Vec<String> + Send + Sync>;

/// The diagnosing part.
pub struct Diagnoser {
    config: DiagnoserConfig,
    ollama: Option<Ollama>,
    breaker: Mutex<Breaker>,
    places: Semaphore,
    offer: Offer,
    clock: Clock,
}

impl Diagnoser {
    /// `ollama` None means that the rules decide, and say that none is configured.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub fn new(
        config: DiagnoserConfig,
        ollama: Option<OllamaConfig>,
        offer: Offer,
        clock: Clock,
    ) -> Result<Self, String> {
        let ollama = ollama.map(Ollama::new).transpose()?;
        let (after, pause, places) = ollama.as_ref().map_or((1, Duration::ZERO, 1), |ollama| {
            let config = ollama.config();
            (
                config.breaker_after,
                config.breaker_pause,
                config.concurrency.max(1),
            )
        });
        Ok(Self {
            config,
            ollama,
            breaker: Mutex::new(Breaker::new(after, pause)),
            places: Semaphore::new(places),
            offer,
            clock,
        })
    }

    /// How Ollama is; None when it is not configured.
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

    /// Diagnoses one event: the model if there is one and it is of use, else the rules, which say
    /// why it is them.
    pub async fn diagnose(&self, event: &IncidentEvent) -> (Diagnosis, Vec<Evidence>) {
        self.diagnose_from(event, &self.offered(event)).await
    }

    /// The same of what is offered there.
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
        if self.is_last_word(event) {
            let why = format!("{} diagnoses did not help: people are told", event.attempt);
            return (by_rules(why), evidence);
        }
        if !event.incident.is_open() {
            return (
                by_rules("the incident is over: nothing to ask a model".into()),
                evidence,
            );
        }
        if !self.breaker.lock().await.closed(Instant::now()) {
            let pause = ollama.config().breaker_pause;
            return (
                by_rules(format!(
                    "ollama failed repeatedly and is left alone for {pause:?}"
                )),
                evidence,
            );
        }
        let patience = ollama.config().timeout;
        let Ok(Ok(_place)) = tokio::time::timeout(patience, self.places.acquire()).await else {
            return (
                by_rules(format!(
                    "ollama was busy with other incidents for {patience:?}"
                )),
                evidence,
            );
        };
        // The client's own time-out covers each request; this one covers all of them together.
        let asked = tokio::time::timeout(patience, ollama.ask(event, &evidence, offered)).await;
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
                tracing::warn!(incident.id = %event.incident.id, why = useless.why, "the rules decide");
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
                let mut diagnosis = by_rules(format!("ollama did not answer within {patience:?}"));
                diagnosis.analyst.took_ms =
                    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                diagnosis.analyst.model = Some(ollama.config().model.clone());
                (diagnosis, evidence)
            }
        }
    }

    /// What may be proposed now.
    fn offered(&self, event: &IncidentEvent) -> Vec<String> {
        let missing = event
            .incident
            .active()
            .any(|finding| finding.meaning == Meaning::Coverage);
        let again = event.kind == IncidentEventKind::Gathered;
        let last = self.is_last_word(event);
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

    /// Whether all attempts were used: an incident that nothing helps ends with people being told,
    /// not in silence.
    fn is_last_word(&self, event: &IncidentEvent) -> bool {
        event.attempt > self.config.most_attempts
    }

    /// The solution that a diagnosis proposes first.
    pub async fn solve(&self, event: &IncidentEvent) -> Option<Solution> {
        let offered = self.offered(event);
        let (diagnosis, evidence) = self.diagnose_from(event, &offered).await;
        let incident = &event.incident;
        let mut proposals = diagnosis.proposals.into_iter();
        let first = proposals.next()?;
        let worst = incident
            .active()
            .chain(&incident.findings)
            .max_by(|a, b| a.severity.total_cmp(&b.severity))
            .map_or_else(
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

    /// Runs until told to stop: reads `incidents-topic`, publishes on `ai-solutions-topic`. Off the
    /// consumer's task, so that a slow model delays nobody else; an event is committed when its
    /// solution, and those of all before it, are durable, or it is set aside.
    ///
    /// # Errors
    /// The bus stayed out of reach.
    pub async fn run(
        self: Arc<Self>,
        bus: Arc<dyn Bus>,
        group: &str,
        shutdown: CancellationToken,
    ) -> Result<(), BusError> {
        let mut subscription = bus.subscribe(Topic::Incidents, group).await?;
        // Tasks that nobody waits for any more end with this.
        let stop = shutdown.child_token();
        let _end = stop.clone().drop_guard();
        let mut under_way = VecDeque::new();
        loop {
            match settle(subscription.as_mut(), &mut under_way, &stop).await {
                Err(BusError::Closed) => break,
                other => other?,
            }
            let room = self.config.queue.max(1).saturating_sub(under_way.len());
            let wait = if under_way.is_empty() {
                Duration::from_millis(500)
            } else {
                Duration::from_millis(20)
            };
            let deliveries = tokio::select! {
                () = shutdown.cancelled() => break,
                deliveries = subscription.next(room.max(1), wait), if room > 0 => deliveries,
                () = tokio::time::sleep(wait), if room == 0 => Ok(vec![]),
            };
            let deliveries = match deliveries {
                Ok(deliveries) => deliveries,
                Err(BusError::Closed) => break,
                Err(error) => {
                    tracing::warn!(%error, "cannot read incidents; trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    continue;
                }
            };
            for delivery in deliveries {
                let task = match codec::incidents::decode(&delivery) {
                    Ok(event) => {
                        let (diagnoser, bus, stop) =
                            (Arc::clone(&self), Arc::clone(&bus), stop.clone());
                        tokio::spawn(
                            async move { diagnoser.answer(bus.as_ref(), &event, &stop).await },
                        )
                    }
                    Err(error) => {
                        tokio::spawn(async move { Answered::Unusable(error.to_string()) })
                    }
                };
                under_way.push_back((delivery, task));
            }
        }
        for (_, task) in under_way {
            task.abort();
        }
        Ok(())
    }

    /// Diagnoses an event that asks for it, and publishes the solution, however long the bus can't.
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
        // One more than the attempts: the last word.
        if !wanted || event.attempt > self.config.most_attempts.saturating_add(1) {
            return Answered::Done;
        }
        let Some(solution) = self.solve(event).await else {
            return Answered::Done;
        };
        tracing::info!(
            incident.id = %event.incident.id, decision.id = solution.id, solution = solution.solution_type,
            analyst = ?solution.analyst.kind, took_ms = solution.analyst.took_ms, "diagnosed"
        );
        fail_point("before", "solution_published");
        let mut published = again::publish(
            bus,
            Topic::Solutions,
            codec::solutions::encode(&solution),
            stop,
        )
        .await;
        if matches!(published, Err(BusError::TooLarge { .. })) {
            // It can be acted on, though not decided again from its record.
            let bare = Solution {
                basis: None,
                ..solution
            };
            published =
                again::publish(bus, Topic::Solutions, codec::solutions::encode(&bare), stop).await;
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
}

/// What became of an event.
enum Answered {
    /// All that it asks for is durable.
    Done,
    /// It will never come to anything, and why.
    Unusable(String),
    /// Nothing yet: it is to come again.
    Stopped,
}

/// Commits the events at the front that are done, and sets aside those that are of no use.
/// [`BusError::Closed`] when told to stop.
async fn settle(
    subscription: &mut dyn Subscription,
    under_way: &mut VecDeque<(Delivery, JoinHandle<Answered>)>,
    stop: &CancellationToken,
) -> Result<(), BusError> {
    while under_way
        .front()
        .is_some_and(|(_, task)| task.is_finished())
    {
        let Some((delivery, task)) = under_way.pop_front() else {
            break;
        };
        match task.await {
            Ok(Answered::Done) => {}
            Ok(Answered::Unusable(why)) => {
                again::set_aside(subscription, &delivery, &why, stop).await?
            }
            Ok(Answered::Stopped) => return Err(BusError::Closed),
            Err(error) => {
                let why = format!("its diagnosis ended with a defect, please report it: {error}");
                again::set_aside(subscription, &delivery, &why, stop).await?;
            }
        }
        if let Err(error) = subscription.commit(&delivery).await {
            tracing::warn!(%error, "cannot commit; the event will be delivered again");
        }
    }
    Ok(())
}

/// The rules' diagnosis with the model's whole answer on record.
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
    use crate::bus::fake::{Failing, FakeBus};
    use crate::domain::{
        Coverage, Direction, Finding, FindingId, Incident, IncidentId, Labels, Phase, Record,
    };

    fn event(attempt: u32) -> IncidentEvent {
        let finding = Finding {
            id: FindingId::derive(&["f"]),
            signal: "latency".into(),
            meaning: Meaning::Latency,
            labels: Labels::default(),
            detector: "zscore".into(),
            detector_digest: String::new(),
            onset_at: 0,
            at: 0,
            phase: Phase::Onset,
            direction: Direction::Above,
            score: 2.0,
            severity: 2.0,
            observed: Some(2.0),
            expected: None,
            reason: String::new(),
        };
        let incident = Incident {
            id: IncidentId::derive(&["i"]),
            target: Target::new("shop", "Deployment", "web"),
            opened_at: 0,
            changed_at: 0,
            cleared_at: None,
            findings: vec![finding],
            coverage: Coverage {
                asked: 1,
                answered: 1,
                failed: 0,
            },
            samples: vec![],
            foreign: false,
        };
        IncidentEvent {
            kind: IncidentEventKind::Gathered,
            at: 0,
            incident,
            evidence: vec![],
            attempt,
            witnesses: vec![],
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

    /// Runs on these messages until that many are committed.
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
        run(&bus, vec![codec::incidents::encode(&event(0))]).await;
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
        run(&bus, vec![garbage, codec::incidents::encode(&event(0))]).await;
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
        bus.offer(Topic::Incidents, codec::incidents::encode(&event(0)));
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
            .map(|attempt| codec::incidents::encode(&event(attempt)));
        run(&bus, events.to_vec()).await;
        let last = diagnoser().solve(&event(attempts + 1)).await.unwrap();
        assert_eq!(last.solution_type, solutions::ALARM);
        assert!(last.alternatives.is_empty(), "{:?}", last.alternatives);
        assert_eq!(bus.published(Topic::Solutions).len(), 2);
    }
}
