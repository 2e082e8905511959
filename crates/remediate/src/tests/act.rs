use std::time::Duration;

use serde_json::json;

use super::rig::{Rig, TEST_TIMEOUT, incident, proposal, request, web};
use anomalyzer_domain::{
    DecisionId, DecisionState, Operation, OutcomeKind, Parameters, Solution, Target,
    VerificationOutcome, solutions,
};

fn parameters(value: &serde_json::Value) -> Parameters {
    value.as_object().cloned().unwrap()
}

#[tokio::test]
async fn what_to_patch_or_to_call_is_never_taken_from_a_message() {
    let rig = Rig::new().await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let patch = json!({"patch": {"target": web(), "patch": {"spec": {"replicas": 0}}}});
    for spelling in ["rate_limit", "rate-limit"] {
        let forged = Solution {
            parameters: parameters(&patch),
            ..proposal(&incident, spelling, 0)
        };
        let decision = rig.drive(&forged).await;
        assert_eq!(
            (decision.state(), decision.guard.unwrap().rule.as_str()),
            (DecisionState::Denied, "rate_limit")
        );
        assert!(decision.summary.unwrap().contains("[[rate_limit]]"));
    }
    // Nor from a person: it is for the configuration to say.
    let decision = rig
        .drive(&Solution {
            parameters: parameters(&patch),
            ..request(solutions::RATE_LIMIT)
        })
        .await;
    assert_eq!(decision.state(), DecisionState::Denied);
    assert_eq!(rig.world.performed(), []);
}

#[tokio::test]
async fn the_ingress_that_is_configured_is_patched_with_the_rate_of_the_message_alone() {
    let way_in = Target::new("shop", "Ingress", "web");
    let configured = json!({"patch": {
        "target": {"namespace": "shop", "kind": "Ingress", "name": "web"},
        "patch": {"metadata": {"annotations": {"limit-rps": "{rate}"}}}
    }});
    let limits = [(web().key(), parameters(&configured))]
        .into_iter()
        .collect();
    let rig = Rig::with(|executor| executor.rate_limits = limits).await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let forged =
        parameters(&json!({"requests_per_second": 50, "patch": {"target": web(), "patch": {}}}));
    let solution = |attempt| Solution {
        parameters: forged.clone(),
        ..proposal(&incident, solutions::RATE_LIMIT, attempt)
    };
    let decision = rig.drive(&solution(0)).await;
    assert_eq!(
        decision.state(),
        DecisionState::Done,
        "{:?}",
        decision.summary
    );
    let performed = rig.world.performed();
    let [Operation::Patch(patch)] = &performed[..] else {
        panic!("{performed:?}")
    };
    assert_eq!(patch.target, way_in);
    assert_eq!(
        patch.patch,
        json!({"metadata": {"annotations": {"limit-rps": "50"}}})
    );
    // The next one on the same Ingress waits for the cooldown.
    let decision = rig.drive(&solution(1)).await;
    assert_eq!(
        (decision.state(), decision.guard.unwrap().rule.as_str()),
        (DecisionState::Denied, "cooldown")
    );
    assert_eq!(rig.world.performed().len(), 1);
}

#[tokio::test]
async fn of_two_decisions_about_one_target_at_a_time_the_second_is_judged_when_the_first_has_acted()
{
    let rig = Rig::with(|executor| executor.config.concurrency = 4).await;
    rig.world.answers.forget_permits(1_000);
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let running = rig.start();
    let two = [0, 1].map(|attempt| proposal(&incident, solutions::RESTART_SERVICE, attempt));
    for solution in &two {
        rig.offer(solution);
    }
    rig.world.begun.acquire().await.unwrap().forget();
    // Both have been judged for the first time; only one of them is at work.
    for solution in &two {
        rig.when(&DecisionId::from(solution.id.clone()), |decision| {
            decision.guard.is_some()
        })
        .await;
    }
    rig.world.answers.add_permits(10);
    let mut states = Vec::new();
    for solution in &two {
        let decision = rig.ended(&DecisionId::from(solution.id.clone())).await;
        states.push((decision.state(), decision.guard.unwrap().rule));
    }
    states.sort_by(|(_, a), (_, b)| a.cmp(b));
    assert_eq!(
        states,
        [
            (DecisionState::Denied, "cooldown".into()),
            (DecisionState::Done, "default".into())
        ]
    );
    assert_eq!(rig.world.performed().len(), 1);
    running.end().await;
}

#[tokio::test]
async fn an_action_whose_time_is_over_leaves_no_operation_without_outcome_and_what_it_changed_is_verified()
 {
    let rig = Rig::with(|executor| executor.config.action_timeout = Duration::from_secs(2)).await;
    // Never answered.
    rig.world.answers.forget_permits(1_000);
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let solution = proposal(&incident, solutions::SCALE_UP, 0);
    let decision = tokio::time::timeout(TEST_TIMEOUT, rig.drive(&solution))
        .await
        .unwrap();
    let [.., scale] = &decision.operations[..] else {
        panic!("nothing was asked for")
    };
    let outcome = scale.outcome.as_ref().unwrap();
    assert_eq!(outcome.kind, OutcomeKind::InDoubt, "{outcome:?}");
    let verification = decision.verification.as_ref().unwrap();
    assert_eq!(
        (decision.state(), verification.outcome),
        (DecisionState::Done, VerificationOutcome::Unknown)
    );
    assert_eq!(
        rig.executor.history.decision(&decision.id).await.unwrap(),
        Some(decision)
    );
}

#[tokio::test]
async fn an_operation_without_answer_that_left_its_mark_was_done() {
    let rig =
        Rig::with(|executor| executor.config.operation_timeout = Duration::from_millis(300)).await;
    rig.world.answers.forget_permits(1_000);
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let solution = proposal(&incident, solutions::SCALE_UP, 0);
    // The id of the first step is known beforehand.
    rig.world.mark(
        &web(),
        &anomalyzer_domain::OperationId::derive(&[solution.id.as_str(), "1"]),
    );
    let decision = tokio::time::timeout(TEST_TIMEOUT, rig.drive(&solution))
        .await
        .unwrap();
    assert_eq!(
        decision.operations[0].outcome.as_ref().unwrap().kind,
        OutcomeKind::Done
    );
}
