//! A decision on its way: guard, action, verification, or what is left of it after a crash.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::bounds::Bounds;
use super::driver::{DriveError, Driver};
use super::evidence::{add_evidence, describe};
use super::perform::Asker;
use super::verify::gathers;
use anomalyzer_domain::{
    Decision, DecisionState, EvidenceKind, GuardVerdict, Operation, OperationRecord, OutcomeKind,
    Snapshot, Verdict, solutions,
};
use anomalyzer_history::{DecisionEventKind, Input};
use anomalyzer_plugin_host::{ActionIncident, ActionOutcome, ActionRun, ActionStep, PluginError};

/// The guard's no, and what it was asked on, if that is not on record yet.
type Refusal = (GuardVerdict, Option<Input>);

impl Driver {
    /// Carries a decision out, to its end or until it is to be verified.
    pub(super) async fn drive(&self, decision: &mut Decision) -> Result<(), DriveError> {
        match decision.state {
            DecisionState::Proposed => {}
            DecisionState::Acting => return self.settle(decision).await,
            DecisionState::Verifying => return Ok(()),
            DecisionState::Held if decision.question.is_some() => return Ok(()),
            // It ended, and then the process did.
            _ => return self.follow_up(decision).await,
        }
        let (snapshot, looked) = self.look(decision.target.as_ref()).await;
        let (first, asked) = self.judge(self.facts(decision, None, snapshot.as_ref()).await);
        decision.guard = Some(first.clone());
        if let Some(snapshot) = &snapshot {
            add_evidence(decision, EvidenceKind::Snapshot, &describe(snapshot));
        } else if let Some(why) = looked {
            add_evidence(
                decision,
                EvidenceKind::Snapshot,
                &format!("the target can't be looked at: {why}"),
            );
        }
        self.add_answers(decision).await;
        self.record_with(DecisionEventKind::Guarded, decision, Some(asked))
            .await?;
        match first.verdict {
            Verdict::Deny => {
                self.end(decision, DecisionState::Denied, Some(first.reason))
                    .await
            }
            // No rule holds a solution as such: a person is asked about an operation.
            Verdict::Allow | Verdict::Shadow | Verdict::Hold => {
                self.run_action(decision, snapshot).await
            }
        }
    }

    async fn run_action(
        &self,
        decision: &mut Decision,
        snapshot: Option<Snapshot>,
    ) -> Result<(), DriveError> {
        let plugin = decision.solution.replace('_', "-");
        let run = match self.open(decision, &plugin, snapshot.as_ref()).await {
            Ok(run) => run,
            Err(error) => {
                let summary = format!("the action `{plugin}` can't be run: {error}");
                return self
                    .end(decision, DecisionState::Failed, Some(summary))
                    .await;
            }
        };
        decision.action_digest = Some(run.digest().to_owned());
        decision.state = DecisionState::Acting;
        let needs = self.plugins.needs(&plugin);
        let asker = Asker {
            plugin: &plugin,
            needs: &needs,
            deadline: Instant::now() + self.config.action_timeout,
            undoes: None,
        };
        let (ended, refused) = self.step_by_step(decision, &run, &asker).await?;
        let (refused, asked) = refused.unzip();
        if let Some(refused) = &refused {
            // The record names the rule that decided, not the one that had nothing to say at the
            // beginning.
            decision.guard = Some(refused.clone());
        }
        if let Some(held) = refused
            .as_ref()
            .filter(|refused| refused.verdict == Verdict::Hold)
        {
            return self.hold(decision, held, asked.flatten()).await;
        }
        match (ended, refused.map(|refused| refused.verdict)) {
            // Afterwards it is looked whether the target got better by itself.
            (_, Some(Verdict::Shadow)) if !decision.findings.is_empty() => {
                decision.state = DecisionState::Verifying;
                self.record(DecisionEventKind::Verifying, decision).await
            }
            (_, Some(Verdict::Shadow)) => self.end(decision, DecisionState::Shadowed, None).await,
            // Whatever ended it: what was changed, or may have been, is looked after.
            (Ok(summary) | Err(summary), _) if may_have_changed(decision) => {
                decision.summary = Some(summary);
                decision.state = DecisionState::Verifying;
                self.record(DecisionEventKind::Verifying, decision).await
            }
            (Err(why), Some(_)) => self.end(decision, DecisionState::Denied, Some(why)).await,
            (Err(why), None) => self.end(decision, DecisionState::Failed, Some(why)).await,
            (Ok(summary), _) => {
                if gathers(decision) {
                    self.record(DecisionEventKind::EvidenceGathered, decision)
                        .await?;
                }
                self.end(decision, DecisionState::Done, Some(summary)).await
            }
        }
    }

    /// Does what the action asks for, one step after the other: how it ended, and the first
    /// refusal. Looks at the clock and at the token between the steps, never in the middle of one,
    /// so that no operation is left without its outcome.
    async fn step_by_step(
        &self,
        decision: &mut Decision,
        run: &ActionRun,
        asker: &Asker<'_>,
    ) -> Result<(Result<String, String>, Option<Refusal>), DriveError> {
        let plugin = asker.plugin;
        let mut last = ActionOutcome::Begin;
        let mut bounds = Bounds::new(&self.config);
        let mut refused: Option<Refusal> = None;
        // What was done before a person was asked is told again, not done again.
        let mut told = 0;
        let ended = loop {
            self.go_on()?;
            if let Err(why) = bounds.step() {
                break Err(why);
            }
            let step = match run.next((self.clock)(), last).await {
                Ok(step) => step,
                Err(error) => break Err(format!("the action `{plugin}` failed: {error}")),
            };
            last = match step {
                ActionStep::Perform(operation) => {
                    let asked = match bounds.operation() {
                        Ok(asked) => asked,
                        Err(why) => break Err(why),
                    };
                    if let Some(before) = decision.operations.get(told) {
                        if before.operation != operation {
                            break Err(format!(
                                "the action `{plugin}` asks for something else than before it was held"
                            ));
                        }
                        told += 1;
                        last = as_told(before);
                        continue;
                    }
                    let (outcome, verdict, on) = self
                        .perform(decision, asker, operation, &asked.to_string())
                        .await?;
                    told = decision.operations.len();
                    if verdict.verdict == Verdict::Hold {
                        refused = Some((verdict, on));
                        break Err("it is held".to_owned());
                    }
                    if verdict.verdict != Verdict::Allow && refused.is_none() {
                        refused = Some((verdict, None));
                    }
                    outcome
                }
                ActionStep::WaitMs(_) if told < decision.operations.len() => ActionOutcome::Waited,
                ActionStep::WaitMs(wait) => {
                    let wait = bounds.wait(Duration::from_millis(u64::from(wait)));
                    self.wait(tokio::time::sleep(wait)).await?;
                    ActionOutcome::Waited
                }
                ActionStep::Finished(summary) => break Ok(summary),
                ActionStep::GaveUp(reason) => break Err(reason),
            };
        };
        Ok((ended, refused))
    }

    async fn open(
        &self,
        decision: &Decision,
        plugin: &str,
        snapshot: Option<&Snapshot>,
    ) -> Result<ActionRun, PluginError> {
        let incident = match &decision.incident {
            Some(id) => self.incident(id).await,
            None => None,
        };
        let findings = incident.map_or_else(|| json!([]), |incident| json!(incident.findings));
        let shown = ActionIncident {
            id: decision
                .incident
                .as_ref()
                .map_or_else(|| decision.id.to_string(), ToString::to_string),
            target: decision.target.clone(),
            snapshot: snapshot.map_or(Value::Null, |snapshot| json!(snapshot)),
            findings,
            diagnosis: json!({
                "explanation": decision.explanation,
                "confidence": decision.confidence,
                "evidence": decision.evidence,
                "alternatives": decision.alternatives,
            }),
        };
        let mut parameters = decision.parameters.clone();
        if decision.solution == solutions::RATE_LIMIT {
            // What is patched or called is for the configuration to say, never for a message.
            parameters.remove("patch");
            parameters.remove("http");
            let configured = decision
                .target
                .as_ref()
                .and_then(|target| self.rate_limits.get(&target.key()));
            for (name, value) in configured.into_iter().flatten() {
                // The rate of the diagnosis counts more than the one for when there is none.
                if name != "requests_per_second" || !parameters.contains_key(name) {
                    parameters.insert(name.clone(), value.clone());
                }
            }
        }
        self.plugins
            .action(plugin, shown, &Value::Object(parameters))
            .await
    }
}

/// What an action is told of an operation that is on record.
fn as_told(record: &OperationRecord) -> ActionOutcome {
    let Some(outcome) = &record.outcome else {
        return ActionOutcome::InDoubt("its outcome is not known".to_owned());
    };
    let text = || {
        outcome
            .detail
            .as_str()
            .map_or_else(|| outcome.detail.to_string(), str::to_owned)
    };
    match outcome.kind {
        OutcomeKind::Done | OutcomeKind::Foreseen => ActionOutcome::Done(outcome.detail.clone()),
        OutcomeKind::Denied => ActionOutcome::Denied(text()),
        OutcomeKind::Failed => ActionOutcome::Failed(text()),
        OutcomeKind::InDoubt => ActionOutcome::InDoubt(text()),
    }
}

/// Whether something was changed that a verification can see the effect of, or may have been.
pub(super) fn may_have_changed(decision: &Decision) -> bool {
    decision.operations.iter().any(|record| {
        let effect =
            !record.operation.is_read() && !matches!(record.operation, Operation::Notify(_));
        let outcome = record.outcome.as_ref().map(|outcome| outcome.kind);
        effect && matches!(outcome, Some(OutcomeKind::Done | OutcomeKind::InDoubt))
    })
}
