//! Verification: compares fresh samples with the range that was expected when the incident began.

use std::time::Duration;

use super::Executor;
use super::decision_run::{DecisionRun, RunError};
use super::{aftermath, echo};
use anomalyzer_domain::{
    Control, Decision, UnixMs, Verdict, Verification, VerificationOutcome, millis,
};
use anomalyzer_history::DecisionEventKind;
use anomalyzer_verification::{Observation, SignalCheck, judge};

/// Result of a verification. It is on record.
pub(super) enum Verified {
    /// The operations were only foreseen: the target was left alone.
    Foreseen,
    /// The operations stay.
    Accepted,
    /// The operations did not help and are to be taken back.
    NotHelpful,
}

/// Waits until the effect can show, gathers fresh samples, and judges them. Compares them with the
/// findings at the time of the decision, even if the incident has changed since.
#[tracing::instrument(name = "verification", skip_all)]
pub(super) async fn verify(
    run: &DecisionRun,
    decision: &mut Decision,
) -> Result<Verified, RunError> {
    let executor = &*run.executor;
    let config = &executor.verify;
    let acted_at = decision
        .operations
        .iter()
        .filter_map(|record| record.done_at)
        .max()
        .unwrap_or(decision.decided_at)
        // The clock may have been ahead when the operation was recorded.
        .min((executor.clock)());
    let mut verification = observe(run, decision, acted_at, config.settle).await?;
    // An echo of the old pods makes a value look too high, and never good. Only a bad result
    // therefore waits until the echo is over.
    if verification.outcome != VerificationOutcome::Improved
        && config.settle < config.echo
        && may_be_echo(decision)
    {
        verification = observe(run, decision, acted_at, config.echo).await?;
    }
    if decision.findings.is_empty() {
        verification.reason = match &decision.incident {
            None => "it was not about an incident, so that there is nothing to compare with".into(),
            Some(id) => format!(
                "the incident {id} was not known here when it was decided: nothing to compare with"
            ),
        };
    }
    if let Some(reason) = aftermath::lost_effect(executor, decision).await {
        // Nothing of the operation is left, so that the samples say nothing about it.
        verification.outcome = VerificationOutcome::Unknown;
        verification.reason = format!("{reason}; {}", verification.reason);
    }
    compare_with_control_group(executor, decision, &mut verification, acted_at).await;
    let outcome = verification.outcome;
    decision.verification = Some(verification);
    run.record_with_retry(DecisionEventKind::Verified, decision)
        .await?;
    let helped = !matches!(
        outcome,
        VerificationOutcome::NotImproved | VerificationOutcome::Worse
    );
    Ok(if is_shadowed(decision) {
        Verified::Foreseen
    } else if helped || !config.undo {
        Verified::Accepted
    } else {
        Verified::NotHelpful
    })
}

/// Gathers the samples after the operation, from the time `settle` after it on, and judges them.
async fn observe(
    run: &DecisionRun,
    decision: &Decision,
    acted_at: UnixMs,
    settle: Duration,
) -> Result<Verification, RunError> {
    let executor = &*run.executor;
    let config = &executor.verify;
    let judged = decision.findings.iter().filter(|it| it.expected.is_some());
    let timings = judged.filter_map(|finding| {
        let timing = executor.timing.get(&finding.signal)?;
        Some((finding.signal.as_str(), *timing))
    });
    let Observation { until, lengthened } = config.observation(settle, timings);
    let (from, until) = (acted_at + millis(settle), acted_at + millis(until));
    let left = u64::try_from(until - (executor.clock)()).unwrap_or(0);
    run.wait(tokio::time::sleep(Duration::from_millis(left)))
        .await?;
    let checks = signal_checks(executor, decision, acted_at, (from, until));
    let mut verification = judge(&checks, config.min_samples, (executor.clock)());
    if let Some(why) = lengthened {
        verification.reason.push_str(&format!("; {why}"));
    }
    Ok(verification)
}

/// Returns true if pods were replaced, so that a signal may still include the old ones.
fn may_be_echo(decision: &Decision) -> bool {
    echo::replaces_pods(decision) && decision.findings.iter().any(echo::can_echo)
}

/// Returns a check for each finding with an expected range. A sample that depends on the time
/// before the operation is not fresh.
fn signal_checks(
    executor: &Executor,
    decision: &Decision,
    acted_at: UnixMs,
    (from, until): (UnixMs, UnixMs),
) -> Vec<SignalCheck> {
    let Some(target) = &decision.target else {
        return vec![];
    };
    let recent = &executor.recent;
    decision
        .findings
        .iter()
        .filter(|finding| finding.expected.is_some())
        .map(|finding| {
            let signal = &finding.signal;
            let timing = executor.timing.get(signal).copied().unwrap_or_default();
            let look_back = timing.look_back;
            let from = from.max(acted_at.saturating_add(millis(look_back)));
            SignalCheck {
                finding: finding.clone(),
                fresh: recent.samples(signal, target, from, until),
                rounds: recent.rounds(signal, target, from, until),
                look_back,
            }
        })
        .collect()
}

/// Adds the control group to the verification: incidents on other targets that nothing was done
/// about.
async fn compare_with_control_group(
    executor: &Executor,
    decision: &Decision,
    verification: &mut Verification,
    acted_at: UnixMs,
) {
    if is_shadowed(decision) {
        verification.reason = format!("it was left alone: {}", verification.reason);
    }
    let (Some(target), Some(_)) = (&decision.target, &decision.incident) else {
        return;
    };
    let control = match executor.history.left_alone(acted_at, target).await {
        Ok(control) if control.left_alone > 0 => control,
        Ok(_) => return,
        Err(error) => return tracing::warn!(%error, "cannot read the control group"),
    };
    let Control { left_alone, better } = control;
    let all = verification.outcome == VerificationOutcome::Improved && better == left_alone;
    let doubt = if all {
        ": it may have helped itself"
    } else {
        ""
    };
    verification.reason.push_str(&format!(
        "; of {left_alone} other targets that were left alone meanwhile {better} got better too{doubt}"
    ));
    verification.control = Some(control);
}

/// Returns true if the decision's operations were only foreseen.
fn is_shadowed(decision: &Decision) -> bool {
    decision
        .guard
        .as_ref()
        .is_some_and(|guard| guard.verdict == Verdict::Shadow)
}
