use std::time::Duration;

use super::rig::{Rig, incident, proposal, web};
use crate::guard_input::facts;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{
    DecisionState, Meaning, Operation, VerificationOutcome, millis, solutions,
};

#[tokio::test]
async fn a_target_that_is_deleted_meanwhile_is_the_reason_why_the_effect_is_unknown() {
    let rig = Rig::new().await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let mut decision = rig.act(&proposal(&incident, solutions::SCALE_UP, 0)).await;
    rig.world.delete();
    rig.hear("latency", 50.0, incident.coverage);
    rig.advance(&mut decision).await;
    let verification = decision.verification.as_ref().unwrap();
    assert_eq!(verification.outcome, VerificationOutcome::Unknown);
    let reason = &verification.reason;
    assert!(
        reason.starts_with("default/shop/Deployment/web was deleted after the scale"),
        "{reason}"
    );
    assert_eq!(decision.state(), DecisionState::Done);
    // A further operation is denied with the true reason.
    let again = rig
        .drive(&proposal(&incident, solutions::RESTART_SERVICE, 1))
        .await;
    let guard = again.guard.as_ref().unwrap();
    assert_eq!(guard.rule, "unknown_state");
    assert!(guard.reason.contains("does not exist"), "{}", guard.reason);
}

#[tokio::test]
async fn what_a_deployment_tool_put_back_is_reported_and_not_repeated() {
    let rig = Rig::with(|executor| executor.policy.cooldown = Duration::ZERO).await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let mut decision = rig.act(&proposal(&incident, solutions::SCALE_UP, 0)).await;
    rig.world.revert("argocd-controller", 2);
    rig.hear("latency", 200.0, incident.coverage);
    rig.advance(&mut decision).await;
    let verification = decision.verification.as_ref().unwrap();
    assert_eq!(verification.outcome, VerificationOutcome::Unknown);
    let reason = &verification.reason;
    assert!(
        reason.starts_with("argocd-controller put the scale of default/shop/Deployment/web back"),
        "{reason}"
    );
    let by = decision
        .operations
        .iter()
        .find_map(|record| record.reverted_by.as_deref());
    assert_eq!(
        (decision.state(), by),
        (DecisionState::Done, Some("argocd-controller"))
    );
    let performed = rig.world.performed().len();
    let again = rig
        .drive(&proposal(&incident, solutions::SCALE_UP, 1))
        .await;
    assert_eq!(again.state(), DecisionState::Denied);
    let guard = again.guard.as_ref().unwrap();
    assert_eq!(guard.rule, "reverted", "{}", guard.reason);
    assert!(
        guard.reason.contains("argocd-controller"),
        "{}",
        guard.reason
    );
    assert_eq!(rig.world.performed().len(), performed);
}

#[tokio::test]
async fn only_memory_alone_counts_as_an_echo_of_the_pods_before() {
    let rig = Rig::with(|executor| executor.policy.cooldown = Duration::ZERO).await;
    let incident_of = |meanings: &[Meaning]| {
        let names = ["a", "b"];
        let mut incident = incident(names.get(..meanings.len()).unwrap());
        for (finding, meaning) in incident.findings.iter_mut().zip(meanings) {
            finding.meaning = *meaning;
        }
        incident
    };
    rig.know(&incident_of(&[Meaning::Latency]));
    let incident = incident_of(&[Meaning::Latency]);
    let first = rig
        .act(&proposal(&incident, solutions::RESTART_SERVICE, 0))
        .await;
    let restarted_at = first
        .operations
        .iter()
        .find_map(|record| record.done_at)
        .unwrap();
    let echo = restarted_at + millis(rig.executor.verify.echo);
    for (meanings, echoes) in [
        (vec![Meaning::Memory], true),
        (vec![Meaning::Saturation, Meaning::Memory], true),
        (vec![Meaning::Memory, Meaning::Errors], false),
        (vec![Meaning::Latency], false),
        (vec![], false),
    ] {
        let mut incident = incident_of(&meanings);
        incident.id = format!("{meanings:?}").as_str().into();
        rig.know(&incident);
        let decision = rig.decision(&proposal(&incident, solutions::RESTART_SERVICE, 0));
        let restart = Operation::Restart { target: web() };
        let known = facts(&rig.executor, &decision, Some(&restart), None).await;
        assert_eq!(
            known.target_facts.echo_until,
            echoes.then_some(echo),
            "{meanings:?}"
        );
        if echoes {
            let denied = rig
                .drive(&proposal(&incident, solutions::RESTART_SERVICE, 0))
                .await;
            assert_eq!(denied.guard.unwrap().rule, "echo");
        }
    }
    assert!(now_ms() < echo);
}

#[tokio::test]
async fn a_good_value_is_believed_at_once_and_a_bad_one_only_after_the_echo() {
    let (observe, echo) = (Duration::from_millis(100), Duration::from_millis(900));
    for (value, outcome, after_echo) in [
        (50.0, VerificationOutcome::Improved, false),
        (200.0, VerificationOutcome::NotImproved, true),
    ] {
        let rig = Rig::with(|executor| {
            executor.verify.observe = observe;
            executor.verify.echo = echo;
        })
        .await;
        let mut incident = incident(&["memory"]);
        incident.findings[0].meaning = Meaning::Memory;
        rig.know(&incident);
        let restart = proposal(&incident, solutions::RESTART_SERVICE, 0);
        let mut decision = rig.act(&restart).await;
        let hearing = async {
            loop {
                rig.hear("memory", value, incident.coverage);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = rig.advance(&mut decision) => {}
            () = hearing => unreachable!(),
        }
        let done_at = decision.operations.iter().find_map(|it| it.done_at);
        let verification = decision.verification.unwrap();
        assert_eq!(verification.outcome, outcome, "{}", verification.reason);
        let waited = verification.at - done_at.unwrap();
        assert_eq!(waited >= millis(echo), after_echo, "{waited} ms");
    }
}
