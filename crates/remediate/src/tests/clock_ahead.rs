//! Tests of what was recorded while the clock was ahead. A time in the future holds up nothing.

use std::time::Duration;

use super::rig::{Rig, incident, interrupted, proposal, request, walk, web};
use crate::held::{Waited, wait_for_answer};
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{
    DecisionId, DecisionState, Operation, Outcome, OutcomeKind, Question, Solution, solutions,
};
use anomalyzer_history::DecisionEventKind;

const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;

#[tokio::test]
async fn an_operation_of_the_future_is_no_recent_one() {
    let rig = Rig::new().await;
    let incident = incident(&["latency"]);
    let mut past = rig.decision(&proposal(&incident, solutions::RESTART_SERVICE, 0));
    let mut operation = interrupted(&past, Operation::Restart { target: web() });
    operation.asked_at = now_ms() + TEN_YEARS_MS;
    operation.done_at = Some(operation.asked_at);
    operation.outcome = Some(Outcome {
        kind: OutcomeKind::Done,
        detail: serde_json::Value::Null,
    });
    past.operations.push(operation);
    walk(&mut past, &[DecisionState::Acting, DecisionState::Done]);
    rig.executor
        .record(DecisionEventKind::Ended, &past, None)
        .await
        .unwrap();

    let first = rig.drive(&request(solutions::RESTART_SERVICE)).await;
    assert_eq!(first.state(), DecisionState::Done, "{first:?}");
    // An operation of the present holds up the next one.
    let again = Solution {
        id: DecisionId::derive(&["again"]).to_string(),
        ..request(solutions::RESTART_SERVICE)
    };
    let second = rig.drive(&again).await;
    let rule = second.guard.as_ref().map(|guard| guard.rule.as_str());
    assert_eq!(rule, Some("cooldown"), "{second:?}");
    let after = rig.executor.history.operations_after(now_ms()).await;
    assert_eq!(after.unwrap().map(|(count, _)| count), Some(1));
}

#[tokio::test]
async fn a_verification_of_the_future_and_its_question_do_not_wait_for_it() {
    let rig = Rig::new().await;
    let mut decision = rig.decision(&request(solutions::RESTART_SERVICE));
    decision.decided_at = now_ms() + TEN_YEARS_MS;
    walk(
        &mut decision,
        &[DecisionState::Acting, DecisionState::Verifying],
    );
    let minute = Duration::from_secs(60);
    tokio::time::timeout(minute, rig.advance(&mut decision))
        .await
        .expect("the verification waits for the future");

    let mut held = rig.decision(&request(solutions::SCALE_UP));
    let operation = Operation::Restart { target: web() };
    let asked_at = now_ms() + TEN_YEARS_MS;
    held.question = Some(Question {
        id: Question::id_of(&held.id, &operation, None),
        operation,
        version: None,
        asked_at,
        expires_at: asked_at + 100,
    });
    walk(&mut held, &[DecisionState::Acting, DecisionState::Held]);
    rig.executor
        .record(DecisionEventKind::Held, &held, None)
        .await
        .unwrap();
    let run = rig.run();
    let waited = tokio::time::timeout(minute, wait_for_answer(&run, &held.id))
        .await
        .expect("the question waits for the future");
    assert!(matches!(waited, Ok(Waited::Lapsed { rule: "answer", .. })));
}
