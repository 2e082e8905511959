//! Runs the action of a decision, step by step.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::action_limits::ActionLimits;
use super::decision_run::{DecisionRun, RunError};
use super::effects::may_have_changed;
use super::follow_up::gathers;
use super::next::Next;
use super::operation::{OperationContext, OperationResult, perform};
use super::plugin_name::plugin_name;
use super::{Executor, provenance};
use anomalyzer_domain::{
    Decision, DecisionState, GuardVerdict, OperationRecord, OutcomeKind, Parameters, Snapshot,
    Verdict, solutions,
};
use anomalyzer_history::{DecisionEventKind, Input};
use anomalyzer_plugin_host::{ActionIncident, ActionOutcome, ActionRun, ActionStep, PluginError};

/// End of the steps of an action.
enum Ran {
    /// The action finished with a summary (`Ok`), or gave up or failed for a reason (`Err`).
    Ended {
        result: Result<String, String>,
        /// First verdict that did not allow an operation.
        refused: Option<GuardVerdict>,
    },
    /// An operation needs a person's approval.
    Held(GuardVerdict, Option<Input>),
}

/// Runs the action of an admitted decision. Operations that are on record from before an approval
/// are replayed to the action, not performed again.
pub(super) async fn run_action(
    run: &DecisionRun,
    decision: &mut Decision,
    snapshot: Option<&Snapshot>,
) -> Result<Next, RunError> {
    let executor = &*run.executor;
    let plugin = plugin_name(decision);
    let action = match open(executor, decision, &plugin, snapshot).await {
        Ok(action) => action,
        Err(error) => {
            let summary = format!("the action `{plugin}` can't be run: {error}");
            return Ok(Next::End(DecisionState::Failed, Some(summary)));
        }
    };
    decision.action_digest = Some(action.digest().to_owned());
    let needs = executor.plugins.needs(&plugin);
    let context = OperationContext {
        plugin: &plugin,
        needs: &needs,
        deadline: Instant::now() + executor.config.action_timeout,
        undoes: None,
    };
    let (result, refused) = match step_by_step(run, decision, &action, &context).await? {
        Ran::Held(verdict, input) => {
            decision.guard = Some(verdict.clone());
            return Ok(Next::Hold(verdict, input));
        }
        Ran::Ended { result, refused } => (result, refused),
    };
    let refused = refused.map(|refused| {
        let verdict = refused.verdict;
        // The record names the rule that decided. At admission no rule had an objection.
        decision.guard = Some(refused);
        verdict
    });
    Ok(match (result, refused) {
        // The verification shows whether the target recovered by itself.
        (_, Some(Verdict::Shadow)) if !decision.findings.is_empty() => Next::Verify(None),
        (_, Some(Verdict::Shadow)) => Next::End(DecisionState::Shadowed, None),
        // Every change, and every possible change, is verified, however the action ended.
        (Ok(summary) | Err(summary), _) if may_have_changed(decision) => {
            Next::Verify(Some(summary))
        }
        (Err(why), Some(_)) => Next::End(DecisionState::Denied, Some(why)),
        (Err(why), None) => Next::End(DecisionState::Failed, Some(why)),
        (Ok(summary), _) => {
            if gathers(decision) {
                run.record_with_retry(DecisionEventKind::EvidenceGathered, decision)
                    .await?;
            }
            Next::End(
                DecisionState::Done,
                Some(with_pending_channels(decision, summary)),
            )
        }
    })
}

/// Returns the summary of an action, with the channels that have not accepted its notices yet.
fn with_pending_channels(decision: &Decision, summary: String) -> String {
    let outcomes = decision
        .operations
        .iter()
        .filter_map(|it| it.outcome.as_ref());
    let pending = outcomes.filter_map(|outcome| outcome.detail.get("pending")?.as_array());
    let pending: Vec<&str> = pending.flatten().filter_map(Value::as_str).collect();
    if pending.is_empty() {
        return summary;
    }
    format!(
        "{summary} (not accepted yet by {}: the notice goes on to be sent)",
        pending.join(", ")
    )
}

/// Performs the operations that the action asks for, one after the other.
///
/// Limits and cancellation are checked between two steps, so that no operation stays without an
/// outcome.
async fn step_by_step(
    run: &DecisionRun,
    decision: &mut Decision,
    action: &ActionRun,
    context: &OperationContext<'_>,
) -> Result<Ran, RunError> {
    let executor = &*run.executor;
    let plugin = context.plugin;
    let mut last = ActionOutcome::Begin;
    let mut limits = ActionLimits::new(&executor.config);
    let mut refused: Option<GuardVerdict> = None;
    // Number of recorded operations that the action knows of.
    let mut replayed = 0;
    let result = loop {
        run.check_cancelled()?;
        if let Err(why) = limits.step() {
            break Err(why);
        }
        let step = match action.next((executor.clock)(), last).await {
            Ok(step) => step,
            Err(error) => break Err(format!("the action `{plugin}` failed: {error}")),
        };
        last = match step {
            ActionStep::Perform(operation) => {
                let number = match limits.operation() {
                    Ok(number) => number,
                    Err(why) => break Err(why),
                };
                if let Some(before) = decision.operations.get(replayed) {
                    if before.operation != operation {
                        break Err(format!(
                            "the action `{plugin}` asks for something else than before it was held"
                        ));
                    }
                    replayed += 1;
                    last = recorded_outcome(before);
                    continue;
                }
                let step = number.to_string();
                match perform(run, decision, context, operation, &step).await? {
                    OperationResult::Held { verdict, input } => {
                        return Ok(Ran::Held(verdict, input));
                    }
                    OperationResult::Refused { outcome, verdict } => {
                        replayed = decision.operations.len();
                        refused = refused.or(Some(verdict));
                        outcome
                    }
                    OperationResult::Attempted { outcome, .. } => {
                        replayed = decision.operations.len();
                        outcome
                    }
                }
            }
            // The wait is over: operations that came after it are on record.
            ActionStep::WaitMs(_) if replayed < decision.operations.len() => ActionOutcome::Waited,
            ActionStep::WaitMs(wait) => {
                let wait = limits.wait(Duration::from_millis(u64::from(wait)));
                run.wait(tokio::time::sleep(wait)).await?;
                ActionOutcome::Waited
            }
            ActionStep::Finished(summary) => break Ok(summary),
            ActionStep::GaveUp(reason) => break Err(reason),
        };
    };
    Ok(Ran::Ended { result, refused })
}

async fn open(
    executor: &Executor,
    decision: &Decision,
    plugin: &str,
    snapshot: Option<&Snapshot>,
) -> Result<ActionRun, PluginError> {
    let incident = match &decision.incident {
        Some(id) => provenance::incident(executor, id).await,
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
    let parameters = Value::Object(parameters(executor, decision));
    executor.plugins.action(plugin, shown, &parameters).await
}

/// Returns the parameters of the action: those of the decision, except that the configuration alone
/// names the object or the URL of a rate limit.
fn parameters(executor: &Executor, decision: &Decision) -> Parameters {
    let mut parameters = decision.parameters.clone();
    if decision.solution != solutions::RATE_LIMIT {
        return parameters;
    }
    parameters.remove("patch");
    parameters.remove("http");
    let configured = decision
        .target
        .as_ref()
        .and_then(|target| executor.rate_limits.get(&target.key()));
    for (name, value) in configured.into_iter().flatten() {
        // The configured rate is a default: the diagnosed rate has precedence.
        if name != "requests_per_second" || !parameters.contains_key(name) {
            parameters.insert(name.clone(), value.clone());
        }
    }
    parameters
}

/// Returns the outcome of a recorded operation in the form that the action is told.
fn recorded_outcome(record: &OperationRecord) -> ActionOutcome {
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
