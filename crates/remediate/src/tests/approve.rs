use std::sync::Arc;
use std::time::Duration;

use super::rig::{Rig, Running, incident, proposal, request};
use crate::AnswerError;
use anomalyzer_domain::{
    Decision, DecisionId, DecisionState, Mode, Operation, Solution, solutions,
};
use anomalyzer_policy::{ModeFor, Selector};

fn id(solution: &Solution) -> DecisionId {
    DecisionId::from(solution.id.clone())
}

/// A rig that asks before it acts, with a decision that waits.
async fn held(solution: &str) -> (Rig, Running, Decision) {
    let rig = Rig::with(|executor| executor.policy.mode = Mode::Approve).await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let running = rig.start();
    let solution = proposal(&incident, solution, 0);
    rig.offer(&solution);
    let decision = rig
        .when(&id(&solution), |decision| {
            decision.state() == DecisionState::Held
        })
        .await;
    (rig, running, decision)
}

#[tokio::test]
async fn what_is_held_is_done_once_a_person_says_yes_and_the_record_says_who() {
    let (rig, running, decision) = held(solutions::SCALE_UP).await;
    let asked = decision.question.unwrap();
    assert!(
        matches!(asked.operation, Operation::Scale { replicas: 4, .. }),
        "{asked:?}"
    );
    assert_eq!(
        (rig.world.performed(), decision.guard.unwrap().rule.as_str()),
        (vec![], "mode")
    );
    rig.executor
        .answer(&decision.id, &asked.id, true, "anna", "it is Black Friday")
        .await
        .unwrap();
    let done = rig
        .when(&decision.id, |decision| {
            decision.state() == DecisionState::Done
        })
        .await;
    assert_eq!(rig.world.performed(), [asked.operation]);
    let [answer] = &done.answers[..] else {
        panic!("{:?}", done.answers)
    };
    assert_eq!(
        (answer.by.as_str(), answer.reason.as_str(), answer.approved),
        ("anna", "it is Black Friday", true)
    );
    assert_eq!(done.question, None);
    running.end().await;
}

#[tokio::test]
async fn a_no_ends_it_and_the_analyst_is_asked_for_something_else() {
    let (rig, running, decision) = held(solutions::RESTART_SERVICE).await;
    let asked = decision.question.unwrap();
    let answered = rig
        .executor
        .answer(&decision.id, &asked.id, false, "anna", "not tonight")
        .await
        .unwrap();
    assert_eq!(answered.guard.unwrap().rule, "answer");
    let again = async {
        while rig.asked_again() != [1] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(super::rig::TEST_TIMEOUT, again)
        .await
        .unwrap();
    assert_eq!(rig.world.performed(), []);
    // Said is said.
    let late = rig
        .executor
        .answer(&decision.id, &asked.id, true, "bert", "do it")
        .await;
    assert!(
        matches!(late, Err(AnswerError::NotHeld(DecisionState::Denied))),
        "{late:?}"
    );
    running.end().await;
}

#[tokio::test]
async fn a_yes_is_to_one_state_of_the_target_and_a_changed_one_is_shown_again() {
    let (rig, running, decision) = held(solutions::RESTART_SERVICE).await;
    let first = decision.question.unwrap();
    rig.world.change("2");
    rig.executor
        .answer(&decision.id, &first.id, true, "anna", "go")
        .await
        .unwrap();
    let asks_again = |decision: &Decision| {
        decision
            .question
            .as_ref()
            .is_some_and(|question| question.id != first.id)
    };
    let decision = rig.when(&decision.id, asks_again).await;
    assert_eq!(
        (decision.state(), rig.world.performed()),
        (DecisionState::Held, vec![])
    );
    let second = decision.question.unwrap();
    assert_eq!(
        (first.version.as_deref(), second.version.as_deref()),
        (Some("1"), Some("2"))
    );
    // The old question can't be answered any more.
    let stale = rig
        .executor
        .answer(&decision.id, &first.id, true, "anna", "go")
        .await;
    assert!(matches!(stale, Err(AnswerError::OtherQuestion(now)) if now.id == second.id));
    rig.executor
        .answer(&decision.id, &second.id, true, "anna", "still")
        .await
        .unwrap();
    rig.when(&decision.id, |decision| {
        decision.state() == DecisionState::Done
    })
    .await;
    assert_eq!(rig.world.performed().len(), 1);
    running.end().await;
}

#[tokio::test]
async fn silence_is_a_no() {
    let rig = Rig::with(|executor| {
        executor.policy.mode = Mode::Approve;
        executor.policy.approve_within = Duration::from_millis(50);
    })
    .await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let running = rig.start();
    let solution = proposal(&incident, solutions::SCALE_UP, 0);
    rig.offer(&solution);
    let decision = rig
        .when(&id(&solution), |decision| {
            decision.state() == DecisionState::Denied
        })
        .await;
    assert!(
        decision
            .summary
            .as_ref()
            .unwrap()
            .starts_with("nobody approved it until"),
        "{:?}",
        decision.summary
    );
    assert_eq!((rig.world.performed(), decision.question), (vec![], None));
    running.end().await;
}

#[tokio::test]
async fn what_was_held_before_a_crash_is_still_asked_after_it_and_what_was_approved_is_done() {
    let (rig, running, decision) = held(solutions::SCALE_UP).await;
    running.end().await;
    let running = rig.start();
    let question = decision.question.unwrap();
    assert_eq!(
        rig.executor
            .history
            .decision(&decision.id)
            .await
            .unwrap()
            .unwrap()
            .state(),
        DecisionState::Held
    );
    running.end().await;
    // Answered, and then the process ended before it went on.
    rig.executor
        .answer(&decision.id, &question.id, true, "anna", "go")
        .await
        .unwrap();
    assert_eq!(rig.world.performed(), []);
    let running = rig.start();
    rig.when(&decision.id, |decision| {
        decision.state() == DecisionState::Done
    })
    .await;
    assert_eq!(rig.world.performed(), [question.operation]);
    running.end().await;
}

#[tokio::test]
async fn of_two_answers_at_once_one_counts() {
    let (rig, running, decision) = held(solutions::RESTART_SERVICE).await;
    let question = decision.question.unwrap().id;
    let say = |by: &'static str| {
        let (executor, id, question) = (
            Arc::clone(&rig.executor),
            decision.id.clone(),
            question.clone(),
        );
        tokio::spawn(async move {
            executor
                .answer(&id, &question, true, by, "go")
                .await
                .is_ok()
        })
    };
    let both = [say("anna"), say("bert")];
    let mut taken = 0;
    for answer in both {
        taken += usize::from(answer.await.unwrap());
    }
    let done = rig
        .when(&decision.id, |decision| {
            decision.state() == DecisionState::Done
        })
        .await;
    assert_eq!(
        (taken, done.answers.len(), rig.world.performed().len()),
        (1, 1, 1)
    );
    running.end().await;
}

#[tokio::test]
async fn people_are_told_without_being_asked_and_other_namespaces_go_on_by_themselves() {
    let shop = Selector {
        namespace: Some("shop".into()),
        ..Selector::default()
    };
    let modes = vec![ModeFor {
        targets: shop,
        solution: Some("restart-service".into()),
        mode: Mode::Approve,
    }];
    let rig = Rig::with(|executor| executor.policy.modes = modes).await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    for (solution, state) in [
        (solutions::ALARM, DecisionState::Done),
        (solutions::SCALE_UP, DecisionState::Done),
        (solutions::RESTART_SERVICE, DecisionState::Held),
    ] {
        assert_eq!(
            rig.drive(&proposal(&incident, solution, 0)).await.state(),
            state,
            "{solution}"
        );
    }
}

#[tokio::test]
async fn what_someone_else_wrote_is_done_as_soon_as_a_person_says_so() {
    let rig = Rig::new().await;
    let running = rig.start();
    let offset = rig.offer(&request(solutions::RESTART_SERVICE));
    let foreign = super::rig::foreign_id(offset);
    let decision = rig
        .when(&foreign, |decision| decision.state() == DecisionState::Held)
        .await;
    let question = decision.question.unwrap();
    rig.executor
        .answer(&foreign, &question.id, true, "anna", "I wrote it")
        .await
        .unwrap();
    rig.when(&foreign, |decision| decision.state() == DecisionState::Done)
        .await;
    assert_eq!(rig.world.performed(), [question.operation]);
    running.end().await;
}

#[tokio::test]
async fn a_question_about_a_target_that_is_deleted_ends_with_that_reason() {
    let (rig, running, decision) = held(solutions::SCALE_UP).await;
    rig.world.delete();
    let ended = rig
        .when(&decision.id, |decision| decision.state().is_terminal())
        .await;
    let guard = ended.guard.as_ref().unwrap();
    assert_eq!(
        (ended.state(), guard.rule.as_str(), guard.reason.as_str()),
        (
            DecisionState::Denied,
            "target_gone",
            "default/shop/Deployment/web was deleted before anybody approved it"
        )
    );
    assert_eq!((rig.world.performed(), rig.asked_again()), (vec![], vec![]));
    running.end().await;
}
