use std::collections::BTreeMap;
use std::time::Duration;

use super::rig::{Rig, coverage, event, incident, proposal, request, walk};
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Coverage, Decision, DecisionState, Phase, VerificationOutcome, solutions};
use anomalyzer_verification::SignalTiming;

/// A decision that has acted and is to be verified on what comes within the next 300 ms.
async fn verified(
    rig: &Rig,
    decision: &mut Decision,
    latency: f64,
    errors: f64,
    coverage: Coverage,
) {
    walk(decision, &[DecisionState::Acting, DecisionState::Verifying]);
    decision.decided_at = now_ms();
    let verifying = rig.advance(decision);
    let hearing = async {
        loop {
            rig.hear("latency", latency, coverage);
            rig.hear("errors", errors, coverage);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = verifying => {}
        () = hearing => unreachable!(),
    }
}

async fn rig() -> Rig {
    Rig::with(|executor| executor.verify.observe = Duration::from_millis(300)).await
}

#[tokio::test]
async fn a_signal_that_cleared_meanwhile_is_compared_with_what_it_was_when_it_was_decided() {
    let rig = rig().await;
    let mut open = incident(&["errors", "latency"]);
    rig.know(&open);
    let mut decision = rig.decision(&proposal(&open, solutions::SCALE_UP, 0));
    // The errors clear, with a value in their range, before the verdict.
    open.changed_at += 1;
    (open.findings[0].phase, open.findings[0].observed) = (Phase::Clear, Some(90.0));
    rig.executor.incidents.take(&event(&open));
    verified(&rig, &mut decision, 95.0, 101.0, coverage(2, 2)).await;
    let verification = decision.verification.unwrap();
    assert_eq!(
        verification.outcome,
        VerificationOutcome::Improved,
        "{}",
        verification.reason
    );
}

#[tokio::test]
async fn a_replica_that_does_not_answer_makes_it_unknown_and_the_analyst_is_asked_again() {
    let rig = rig().await;
    let incident = incident(&["errors", "latency"]);
    rig.know(&incident);
    let mut decision = rig.decision(&proposal(&incident, solutions::RESTART_SERVICE, 0));
    verified(&rig, &mut decision, 50.0, 50.0, coverage(2, 1)).await;
    let verification = decision.verification.unwrap();
    assert_eq!(verification.outcome, VerificationOutcome::Unknown);
    assert!(
        verification.reason.contains("1 of 2 sources answered"),
        "{}",
        verification.reason
    );
    assert_eq!(rig.asked_again(), [1]);
}

#[tokio::test]
async fn that_an_incident_is_not_known_is_not_said_to_be_no_incident() {
    let rig = Rig::new().await;
    let mut unknown = rig.decision(&proposal(&incident(&["latency"]), solutions::SCALE_UP, 0));
    verified(&rig, &mut unknown, 50.0, 50.0, coverage(2, 2)).await;
    let reason = unknown.verification.unwrap().reason;
    assert!(reason.contains("was not known here"), "{reason}");
    let mut nothing = rig.decision(&request(solutions::SCALE_UP));
    verified(&rig, &mut nothing, 50.0, 50.0, coverage(2, 2)).await;
    let reason = nothing.verification.unwrap().reason;
    assert!(reason.contains("not about an incident"), "{reason}");
}

fn timing(look_back: Duration) -> BTreeMap<String, SignalTiming> {
    let interval = Duration::from_millis(20);
    let timing = SignalTiming {
        look_back,
        interval,
    };
    ["latency", "errors"]
        .map(|it| (it.to_owned(), timing))
        .into()
}

#[tokio::test]
async fn an_observation_lasts_until_there_are_samples_without_the_time_before_and_says_so() {
    let look_back = Duration::from_millis(700);
    let rig = Rig::with(|executor| {
        executor.verify.observe = Duration::from_millis(300);
        executor.timing = timing(look_back);
    })
    .await;
    let open = incident(&["errors", "latency"]);
    rig.know(&open);
    let mut decision = rig.decision(&proposal(&open, solutions::RESTART_SERVICE, 0));
    verified(&rig, &mut decision, 200.0, 200.0, coverage(2, 2)).await;
    let verification = decision.verification.unwrap();
    let reason = &verification.reason;
    assert_eq!(
        verification.outcome,
        VerificationOutcome::NotImproved,
        "{reason}"
    );
    assert!(
        reason.contains("instead of 300ms, because a sample of"),
        "{reason}"
    );
    assert!(
        verification.at >= decision.decided_at + 700,
        "{verification:?}"
    );
}

#[tokio::test]
async fn samples_that_depend_on_the_time_before_the_operation_judge_nothing() {
    for (look_back, outcome) in [
        (Duration::from_secs(300), VerificationOutcome::Unknown),
        (Duration::from_millis(150), VerificationOutcome::NotImproved),
    ] {
        let rig = Rig::with(|executor| {
            executor.verify.observe = Duration::from_millis(300);
            executor.verify.observe_at_most = Duration::ZERO;
            executor.timing = timing(look_back);
        })
        .await;
        let open = incident(&["errors", "latency"]);
        rig.know(&open);
        let mut decision = rig.decision(&proposal(&open, solutions::RESTART_SERVICE, 0));
        verified(&rig, &mut decision, 200.0, 200.0, coverage(2, 2)).await;
        let verification = decision.verification.unwrap();
        assert_eq!(verification.outcome, outcome, "{}", verification.reason);
        if outcome == VerificationOutcome::Unknown {
            let reason = &verification.reason;
            assert!(reason.contains("depends on the 5m before it"), "{reason}");
            assert_eq!(rig.world.performed(), [], "nothing is taken back");
        }
    }
}
