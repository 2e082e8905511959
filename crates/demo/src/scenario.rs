//! Acts of the demo. Each act is judged by the content of SQLite afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::environment::Stage;
use super::load::{Load, LoadSettings};
use super::narrator::Narrator;
use super::operator_steps::Hands;
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::http_client;
use anomalyzer_detect::DetectStatus;
use anomalyzer_domain::{
    Decision, DecisionState, Operation, OutcomeKind, UnixMs, VerificationOutcome, solutions,
};
use anomalyzer_history::{Filter, HistoryReader, Order, Page};
use anomalyzer_service::Service;

/// Minimum number of samples of each signal before the first fault. It also applies if the
/// detectors have learned from backfilled history.
const WARM: u64 = 20;
/// Requests a second on an ordinary day.
pub(super) const RATE: f64 = 40.0;

/// An act: one fault, or the controls for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Surge: four times the traffic.
    Surge,
    /// Leak: growing memory.
    Leak,
    /// Blip: one bad second.
    Blip,
    /// Mute: the metrics are gone while the service continues.
    Mute,
    /// Hands: no fault, but the controls for people.
    Hands,
}

/// Traffic of the demo, with the replicas that receive it.
pub(super) struct Traffic {
    replicas: watch::Receiver<Vec<String>>,
    load: Load,
}

impl Traffic {
    /// Starts the traffic of an ordinary day.
    pub(super) fn start(
        stage: &Stage,
        running: Option<&Service>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let replicas = stage.replicas(running, shutdown.child_token())?;
        let settings = LoadSettings {
            rate: RATE,
            amplitude: 0.0,
            ..LoadSettings::default()
        };
        let load = Load::start(replicas.clone(), &settings, shutdown.child_token())?;
        Ok(Self { replicas, load })
    }

    /// Returns the base URLs of the ready replicas.
    pub(super) fn replicas(&self) -> watch::Receiver<Vec<String>> {
        self.replicas.clone()
    }
}

pub(super) struct Scenario<'a> {
    pub(super) narrator: Narrator,
    pub(super) stage: &'a Stage,
    pub(super) running: &'a Service,
    pub(super) reader: HistoryReader,
    replicas: watch::Receiver<Vec<String>>,
    load: Load,
    pub(super) client: reqwest::Client,
}

impl<'a> Scenario<'a> {
    pub(super) fn new(
        narrator: Narrator,
        stage: &'a Stage,
        Traffic { replicas, load }: Traffic,
        running: &'a Service,
        reader: HistoryReader,
    ) -> anyhow::Result<Self> {
        let client = http_client::client(Duration::from_secs(5))?;
        Ok(Self {
            narrator,
            stage,
            running,
            reader,
            replicas,
            load,
            client,
        })
    }

    /// Plays the acts. Returns true if all of them succeeded.
    pub(super) async fn play(&self, acts: &[Act]) -> anyhow::Result<bool> {
        self.warm_up().await?;
        let mut results = Vec::new();
        for act in acts {
            let started = now_ms();
            let result = self.one(*act, started).await;
            // The act is judged when it is over, because late operations count as well. An incident
            // that stays open for too long fails this act.
            let over = self.calm(*act, started).await;
            let judged = match over {
                Ok(()) => self.nothing_else(*act, started).await,
                Err(error) => Err(error),
            };
            results.push((*act, result.and_then(|line| judged.map(|()| line))));
        }
        self.narrator.chapter("result", "read back from SQLite");
        let mut all = true;
        for (act, result) in &results {
            let (good, line) = match result {
                Ok(line) => (true, line.clone()),
                Err(error) => (false, format!("{error:#}")),
            };
            all &= good;
            let mark = if good { "✓" } else { "✗" };
            self.narrator.say(
                "act",
                &format!("{mark} {}: {line}", act.title()),
                &json!({ "act": act.name(), "good": good }),
            );
        }
        Ok(all)
    }

    pub(super) fn within(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds * u64::from(self.stage.patience))
    }

    async fn warm_up(&self) -> anyhow::Result<()> {
        self.narrator.chapter(
            "warm-up",
            "an ordinary day: 40 requests a second, the detectors learn what is usual",
        );
        let began = now_ms();
        let mut told = 0;
        poll(
            self.within(60),
            "the detectors did not see enough samples",
            async || {
                let status = self.running.detection();
                let least = status
                    .values()
                    .map(|signal| signal.samples)
                    .min()
                    .unwrap_or(0);
                let seconds = (now_ms() - began) / 1000;
                if seconds / 4 > told {
                    told = seconds / 4;
                    let line = format!(
                        "{} signals, {least} samples each; {}",
                        status.len(),
                        learning(&status)
                    );
                    self.narrator.say(
                        "progress",
                        &line,
                        &json!({ "signals": status.len(), "samples": least }),
                    );
                }
                let ready = status.values().all(|signal| signal.learning.is_empty());
                (status.len() >= self.running.signals() && least >= WARM && ready).then_some(())
            },
        )
        .await
        .map_err(|error| {
            let problems: Vec<String> = self.running.problems();
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

    async fn one(&self, act: Act, started: UnixMs) -> anyhow::Result<String> {
        self.narrator.chapter(act.name(), act.title());
        match act {
            Act::Surge => {
                self.load.set_factor(4.0);
                let decision = self.decided(solutions::SCALE_UP, started).await?;
                let replicas =
                    replicas_after(&decision).context("no scale operation is on record as done")?;
                improved(&decision)?;
                Ok(format!(
                    "{} to {replicas} replicas → improved ({})",
                    decision.solution, decision.id
                ))
            }
            Act::Leak => {
                let first = self
                    .replicas
                    .borrow()
                    .first()
                    .cloned()
                    .context("no replica serves")?;
                self.fault(&first, "leak").await?;
                let decision = self.decided(solutions::RESTART_SERVICE, started).await?;
                improved(&decision)?;
                Ok(format!(
                    "{} → improved ({})",
                    decision.solution, decision.id
                ))
            }
            Act::Blip => {
                // The strength is high enough for two replicas, which halve the queue. It is low
                // enough for some requests to be answered in every second.
                self.fault_everywhere("blip?strength=30").await?;
                let decision = self.decided(solutions::NO_ACTION, started).await?;
                Ok(format!(
                    "{} and nothing done ({})",
                    decision.solution, decision.id
                ))
            }
            Act::Mute => {
                self.fault_everywhere("mute").await?;
                let decision = self.decided(solutions::ALARM, started).await?;
                let told = decision.operations.iter().any(|record| {
                    matches!(record.operation, Operation::Notify(_))
                        && record
                            .outcome
                            .as_ref()
                            .is_some_and(|outcome| outcome.kind == OutcomeKind::Done)
                });
                anyhow::ensure!(told, "no notice is on record as delivered");
                Ok(format!(
                    "{} and nothing else ({})",
                    decision.solution, decision.id
                ))
            }
            Act::Hands => {
                Hands {
                    scenario: self,
                    started,
                }
                .play()
                .await
            }
        }
    }

    /// Removes the fault and waits until the incident is over and every decision about it has
    /// ended.
    async fn calm(&self, act: Act, since: UnixMs) -> anyhow::Result<()> {
        match act {
            Act::Surge => self.load.set_factor(1.0),
            Act::Mute => {
                for replica in self.replicas.borrow().clone() {
                    let _ = self.client.delete(format!("{replica}/fault")).send().await;
                }
            }
            Act::Leak | Act::Blip | Act::Hands => {}
        }
        poll(self.within(60), "the incident is still open", async || {
            (self.running.open_incidents() == 0).then_some(())
        })
        .await?;
        poll(self.within(60), "a decision has not ended", async || {
            let decisions = self.recorded(since).await.ok()?;
            decisions
                .iter()
                .all(|decision| decision.state().needs_no_work())
                .then_some(())
        })
        .await
    }

    pub(super) async fn fault(&self, replica: &str, name: &str) -> anyhow::Result<()> {
        let url = format!("{replica}/fault/{name}");
        let answer = self
            .client
            .post(&url)
            .send()
            .await
            .with_context(|| format!("POST {url}"))?;
        anyhow::ensure!(
            answer.status().is_success(),
            "POST {url} answered {}",
            answer.status()
        );
        self.narrator.say(
            "fault",
            &format!("POST {url}"),
            &json!({ "fault": name, "replica": replica }),
        );
        Ok(())
    }

    async fn fault_everywhere(&self, name: &str) -> anyhow::Result<()> {
        let replicas = self.replicas.borrow().clone();
        anyhow::ensure!(!replicas.is_empty(), "no replica serves");
        for replica in replicas {
            self.fault(&replica, name).await?;
        }
        Ok(())
    }

    /// Waits for the end of a decision with this solution, as recorded in SQLite.
    async fn decided(&self, solution: &str, since: UnixMs) -> anyhow::Result<Decision> {
        let what = format!("no `{solution}` was decided and ended");
        let mut last = None;
        let found = poll(self.within(60), &what, async || {
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
            target: Some(self.stage.target.clone()),
            from: Some(since),
            ..Filter::default()
        };
        let page = Page {
            limit: 100,
            order: Order::Oldest,
            ..Page::default()
        };
        Ok(self.reader.decisions(&filter, page).await?.0)
    }

    /// Returns an error if the host did an operation since `since` that the act forbids.
    async fn nothing_else(&self, act: Act, since: UnixMs) -> anyhow::Result<()> {
        for decision in self.recorded(since).await? {
            for record in &decision.operations {
                anyhow::ensure!(
                    act.allows(&record.operation),
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

impl Act {
    /// Returns true if the act allows the operation. Every act allows reads. During a blip nothing
    /// else is allowed, and after the loss of the metrics only notices to people.
    fn allows(self, operation: &Operation) -> bool {
        match self {
            Self::Surge | Self::Leak | Self::Hands => true,
            Self::Blip => operation.is_read(),
            Self::Mute => operation.is_read() || matches!(operation, Operation::Notify(_)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Surge => "surge",
            Self::Leak => "leak",
            Self::Blip => "blip",
            Self::Mute => "mute",
            Self::Hands => "hands",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Surge => "four times the traffic; requests queue and become slow",
            Self::Leak => "one replica leaks 20 MiB a second",
            Self::Blip => "one bad second",
            Self::Mute => "the metrics endpoints vanish while the service serves on",
            Self::Hands => {
                "what people can do: stop everything, be refused, use a budget up, see it put back, be asked"
            }
        }
    }
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

/// Calls `ask` until it returns a value.
///
/// # Errors
///
/// Returns an error with the text `otherwise` if there is no value within `patience`.
pub(super) async fn poll<T>(
    patience: Duration,
    otherwise: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "{otherwise} within {patience:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::{Notice, Target};

    #[test]
    fn about_a_blip_nothing_may_be_done_and_about_vanished_metrics_people_may_only_be_told() {
        let target = Target::new("", "Process", "shop");
        let restart = Operation::Restart {
            target: target.clone(),
        };
        let inspect = Operation::Inspect { target };
        let notice = Notice {
            channel: "log".into(),
            title: "gone".into(),
            text: String::new(),
        };
        let notify = Operation::Notify(notice);
        let allowed =
            |act: Act| [&restart, &notify, &inspect].map(|operation| act.allows(operation));
        assert_eq!(allowed(Act::Leak), [true, true, true]);
        assert_eq!(allowed(Act::Mute), [false, true, true]);
        assert_eq!(allowed(Act::Blip), [false, false, true]);
    }
}
