//! Plays the scenes of the demo. Each scene is judged by the content of SQLite afterwards.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::json;

use super::operator_steps::OperatorSteps;
use super::scene::Scene;
use super::scene_context::{SceneContext, poll};
use super::traffic::Traffic;
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::error_chain;
use anomalyzer_detect::DetectStatus;
use anomalyzer_domain::{
    Decision, DecisionState, Operation, OutcomeKind, UnixMs, VerificationOutcome, solutions,
};
use anomalyzer_history::{Filter, Order, Page};

/// Minimum number of samples of each signal before the first fault. It also applies if the
/// detectors have learned from backfilled history.
const WARM: u64 = 20;

/// The scenes of a running demo, with the traffic that they change.
pub(super) struct Scenario<'a> {
    context: SceneContext<'a>,
    traffic: Traffic,
}

impl<'a> Scenario<'a> {
    pub(super) fn new(context: SceneContext<'a>, traffic: Traffic) -> Self {
        Self { context, traffic }
    }

    /// Plays the scenes. Returns true if all of them succeeded.
    pub(super) async fn play(&self, scenes: &[Scene]) -> anyhow::Result<bool> {
        self.warm_up().await?;
        let mut results = Vec::new();
        for scene in scenes {
            let started = now_ms();
            let result = self.one(*scene, started).await;
            // The scene is judged when it is over, because late operations count as well. An
            // incident that stays open for too long fails this scene.
            let over = self.calm(*scene, started).await;
            let judged = match over {
                Ok(()) => self.nothing_else(*scene, started).await,
                Err(error) => Err(error),
            };
            results.push((*scene, result.and_then(|line| judged.map(|()| line))));
        }
        self.context
            .narrator
            .chapter("result", "read back from SQLite");
        let mut all = true;
        for (scene, result) in &results {
            let (good, line) = match result {
                Ok(line) => (true, line.clone()),
                Err(error) => (false, error_chain::describe(error.as_ref())),
            };
            all &= good;
            let mark = if good { "✓" } else { "✗" };
            self.context.narrator.say(
                "act",
                &format!("{mark} {}: {line}", scene.title()),
                &json!({ "act": scene.name(), "good": good }),
            );
        }
        Ok(all)
    }

    async fn warm_up(&self) -> anyhow::Result<()> {
        self.context.narrator.chapter(
            "warm-up",
            "an ordinary day: 40 requests a second, the detectors learn what is usual",
        );
        let began = now_ms();
        let mut narrated = 0;
        poll(
            self.context.within(60),
            "the detectors did not see enough samples",
            async || {
                let status = self.context.running.detection();
                let least = status
                    .values()
                    .map(|signal| signal.samples)
                    .min()
                    .unwrap_or(0);
                let seconds = (now_ms() - began) / 1000;
                if seconds / 4 > narrated {
                    narrated = seconds / 4;
                    let line = format!(
                        "{} signals, {least} samples each; {}",
                        status.len(),
                        learning(&status)
                    );
                    self.context.narrator.say(
                        "progress",
                        &line,
                        &json!({ "signals": status.len(), "samples": least }),
                    );
                }
                let ready = status.values().all(|signal| signal.learning.is_empty());
                (status.len() >= self.context.running.signals() && least >= WARM && ready)
                    .then_some(())
            },
        )
        .await
        .map_err(|error| {
            let problems: Vec<String> = self.context.running.problems();
            anyhow::anyhow!(
                "{error}: {}",
                if problems.is_empty() {
                    "no part reports a problem".into()
                } else {
                    problems.join("; ")
                }
            )
        })
    }

    async fn one(&self, scene: Scene, started: UnixMs) -> anyhow::Result<String> {
        self.context.narrator.chapter(scene.name(), scene.title());
        match scene {
            Scene::Surge => {
                self.traffic.load.set_factor(4.0);
                let decision = self.decided(solutions::SCALE_UP, started).await?;
                let replicas =
                    replicas_after(&decision).context("no scale operation is on record as done")?;
                improved(&decision)?;
                Ok(format!(
                    "{} to {replicas} replicas → improved ({})",
                    decision.solution, decision.id
                ))
            }
            Scene::Leak => {
                let first = self
                    .traffic
                    .replicas
                    .borrow()
                    .first()
                    .cloned()
                    .context("no replica serves")?;
                self.context.fault(&first, "leak").await?;
                let decision = self.decided(solutions::RESTART_SERVICE, started).await?;
                improved(&decision)?;
                Ok(format!(
                    "{} → improved ({})",
                    decision.solution, decision.id
                ))
            }
            Scene::Blip => {
                // The strength is high enough for two replicas, which halve the queue. It is low
                // enough for some requests to be answered in every second.
                self.fault_everywhere("blip?strength=30").await?;
                let decision = self.decided(solutions::NO_ACTION, started).await?;
                Ok(format!(
                    "{} and nothing done ({})",
                    decision.solution, decision.id
                ))
            }
            Scene::Mute => {
                self.fault_everywhere("mute").await?;
                let decision = self.decided(solutions::ALARM, started).await?;
                let is_delivered = decision.operations.iter().any(|record| {
                    matches!(record.operation, Operation::Notify(_))
                        && record
                            .outcome
                            .as_ref()
                            .is_some_and(|outcome| outcome.kind == OutcomeKind::Done)
                });
                anyhow::ensure!(is_delivered, "no notice is on record as delivered");
                Ok(format!(
                    "{} and nothing else ({})",
                    decision.solution, decision.id
                ))
            }
            Scene::Hands => {
                let steps = OperatorSteps {
                    context: &self.context,
                    started,
                };
                steps.play().await
            }
        }
    }

    /// Removes the fault and waits until the incident is over and every decision about it has
    /// ended.
    async fn calm(&self, scene: Scene, since: UnixMs) -> anyhow::Result<()> {
        match scene {
            Scene::Surge => self.traffic.load.set_factor(1.0),
            Scene::Mute => {
                for replica in self.traffic.replicas.borrow().clone() {
                    let _ = self
                        .context
                        .client
                        .delete(format!("{replica}/fault"))
                        .send()
                        .await;
                }
            }
            Scene::Leak | Scene::Blip | Scene::Hands => {}
        }
        poll(
            self.context.within(60),
            "the incident is still open",
            async || (self.context.running.open_incidents() == 0).then_some(()),
        )
        .await?;
        poll(
            self.context.within(60),
            "a decision has not ended",
            async || {
                let decisions = self.recorded(since).await.ok()?;
                decisions
                    .iter()
                    .all(|decision| decision.state().needs_no_work())
                    .then_some(())
            },
        )
        .await
    }

    async fn fault_everywhere(&self, name: &str) -> anyhow::Result<()> {
        let replicas = self.traffic.replicas.borrow().clone();
        anyhow::ensure!(!replicas.is_empty(), "no replica serves");
        for replica in replicas {
            self.context.fault(&replica, name).await?;
        }
        Ok(())
    }

    /// Waits for the end of a decision with this solution, as recorded in SQLite.
    async fn decided(&self, solution: &str, since: UnixMs) -> anyhow::Result<Decision> {
        let what = format!("no `{solution}` was decided and ended");
        let mut last = None;
        let found = poll(self.context.within(60), &what, async || {
            let decisions = self.recorded(since).await.ok()?;
            last = decisions.last().cloned();
            decisions
                .into_iter()
                .find(|decision| decision.solution == solution && decision.state().needs_no_work())
        })
        .await;
        let decision = found.map_err(|error| match &last {
            Some(last) => anyhow::anyhow!(
                "{error}; the last decision is {} {} ({})",
                last.solution,
                last.state().as_str(),
                last.summary.as_deref().unwrap_or("")
            ),
            None => anyhow::anyhow!("{error}; nothing was decided"),
        })?;
        anyhow::ensure!(
            decision.state() == DecisionState::Done,
            "{} ended as {}: {}",
            decision.solution,
            decision.state().as_str(),
            decision.summary.as_deref().unwrap_or("")
        );
        Ok(decision)
    }

    /// Returns the decisions about the target since `since`, oldest first.
    async fn recorded(&self, since: UnixMs) -> anyhow::Result<Vec<Decision>> {
        let filter = Filter {
            target: Some(self.context.environment.target.clone()),
            from: Some(since),
            ..Filter::default()
        };
        let page = Page {
            limit: 100,
            order: Order::Oldest,
            ..Page::default()
        };
        Ok(self.context.reader.decisions(&filter, page).await?.0)
    }

    /// Returns an error if the host did an operation since `since` that the scene forbids.
    async fn nothing_else(&self, scene: Scene, since: UnixMs) -> anyhow::Result<()> {
        for decision in self.recorded(since).await? {
            for record in &decision.operations {
                anyhow::ensure!(
                    scene.allows(&record.operation),
                    "{} was done by {}",
                    record.kind,
                    decision.id
                );
            }
        }
        Ok(())
    }
}

/// Describes the warm-up: the first detector that needs more samples, and the time until all are
/// ready.
fn learning(status: &BTreeMap<String, DetectStatus>) -> String {
    let learning: Vec<_> = status
        .values()
        .flat_map(|signal| &signal.learning)
        .collect();
    let (Some(first), ready_at) = (
        learning.first(),
        learning
            .iter()
            .filter_map(|learning| learning.ready_at)
            .max(),
    ) else {
        return "all detectors are ready".to_owned();
    };
    let when = ready_at.map_or_else(String::new, |at| {
        format!(
            ", ready in about {} s",
            (at - now_ms()).max(0).unsigned_abs().div_ceil(1000)
        )
    });
    format!(
        "{} learns from the first {}{when}",
        first.detector, first.min_samples
    )
}

fn improved(decision: &Decision) -> anyhow::Result<()> {
    let verification = decision
        .verification
        .as_ref()
        .context("no verification is on record")?;
    let outcome = verification.outcome;
    anyhow::ensure!(
        outcome == VerificationOutcome::Improved,
        "{} was {}: {}",
        decision.solution,
        outcome.as_str(),
        verification.reason
    );
    Ok(())
}

fn replicas_after(decision: &Decision) -> Option<u32> {
    decision
        .operations
        .iter()
        .find_map(|record| match (&record.operation, &record.outcome) {
            (Operation::Scale { replicas, .. }, Some(outcome))
                if outcome.kind == OutcomeKind::Done =>
            {
                Some(*replicas)
            }
            _ => None,
        })
}
