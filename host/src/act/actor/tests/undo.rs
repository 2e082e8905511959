use std::sync::Arc;
use std::time::Duration;

use super::rig::{PATIENCE, Rig, incident, proposal, web};
use crate::act::Actor;
use crate::domain::{
    Coverage, Decision, DecisionId, DecisionState, Incident, IncidentEvent, IncidentEventKind,
    Mode, Operation, Solution, UndoState, VerificationOutcome, solutions,
};
use crate::verify::VerifyConfig;

const WHOLE: Coverage = Coverage {
    asked: 1,
    answered: 1,
    failed: 0,
};

/// Drives it while its signal stays as bad as it was.
async fn in_vain(rig: &Rig, solution: &Solution) -> Decision {
    let mut decision = rig.decision(solution);
    let driver = rig.driver();
    driver.meet(&mut decision).await.unwrap();
    driver.drive(&mut decision).await.unwrap();
    assert_eq!(
        decision.state,
        DecisionState::Verifying,
        "{:?}",
        decision.summary
    );
    rig.hear("latency", 200.0, WHOLE);
    driver.verify(&mut decision).await.unwrap();
    decision
}

fn over(incident: &Incident, at: i64) -> IncidentEvent {
    let incident = Incident {
        cleared_at: Some(at),
        changed_at: at,
        ..incident.clone()
    };
    IncidentEvent {
        kind: IncidentEventKind::Cleared,
        at,
        incident,
        evidence: vec![],
        attempt: 0,
        witnesses: vec![],
    }
}

/// Everything that was expected is heard a moment after the operation.
async fn rig() -> (Rig, Incident) {
    rig_with(|_| {}).await
}

async fn rig_with(change: impl FnOnce(&mut Actor)) -> (Rig, Incident) {
    let verify = VerifyConfig {
        settle: Duration::ZERO,
        observe: Duration::from_millis(300),
        min_samples: 1,
        scale_back_after: Duration::ZERO,
        ..VerifyConfig::default()
    };
    let rig = Rig::with(|actor| {
        actor.verify = verify;
        change(actor);
    })
    .await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    (rig, incident)
}

fn scaled(rig: &Rig) -> Vec<u32> {
    let replicas = |operation: &Operation| match operation {
        Operation::Scale { replicas, .. } => Some(*replicas),
        _ => None,
    };
    rig.world.performed().iter().filter_map(replicas).collect()
}

#[tokio::test]
async fn what_took_capacity_and_did_not_help_is_put_back_and_something_else_is_tried() {
    let (rig, incident) = rig().await;
    let decision = in_vain(&rig, &proposal(&incident, solutions::SCALE_DOWN, 0)).await;
    assert_eq!(
        decision.verification.as_ref().unwrap().outcome,
        VerificationOutcome::NotImproved
    );
    let undo = decision.undo.as_ref().unwrap();
    assert_eq!(
        (decision.state, undo.state),
        (DecisionState::Undone, UndoState::Undone),
        "{}",
        undo.reason
    );
    assert_eq!((scaled(&rig), rig.world.replicas()), (vec![1, 2], 2));
    let [first, second] = &decision.operations[..] else {
        panic!("{:?}", decision.operations)
    };
    assert_eq!(second.undoes.as_ref(), Some(&first.id));
    assert_eq!(second.guard.as_ref().unwrap().rule, "default");
    assert_eq!(rig.asked_again(), [1]);
}

#[tokio::test]
async fn a_target_under_load_keeps_what_it_got_until_the_incident_is_over() {
    let (rig, incident) = rig().await;
    let decision = in_vain(&rig, &proposal(&incident, solutions::SCALE_UP, 0)).await;
    assert_eq!(
        (decision.state, decision.undo.as_ref().unwrap().state),
        (DecisionState::Done, UndoState::Later)
    );
    assert_eq!(rig.world.replicas(), 4);
    let driver = rig.driver();
    driver.scale_back_once().await.unwrap();
    assert_eq!(rig.world.replicas(), 4);
    rig.actor
        .incidents
        .take(&over(&incident, (rig.actor.clock)()));
    rig.hear("latency", 50.0, WHOLE);
    driver.scale_back_once().await.unwrap();
    driver.scale_back_once().await.unwrap();
    assert_eq!(scaled(&rig), [4, 2]);
    let decision = rig
        .actor
        .history
        .decision(&decision.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (decision.state, decision.undo.unwrap().state),
        (DecisionState::Undone, UndoState::Undone)
    );
}

#[tokio::test]
async fn what_helped_goes_back_as_well_once_it_is_over_but_not_while_data_are_missing() {
    let (rig, incident) = rig().await;
    let mut decision = rig.decision(&proposal(&incident, solutions::SCALE_UP, 0));
    let driver = rig.driver();
    driver.drive(&mut decision).await.unwrap();
    rig.hear("latency", 50.0, WHOLE);
    driver.verify(&mut decision).await.unwrap();
    assert_eq!(
        decision.verification.unwrap().outcome,
        VerificationOutcome::Improved
    );
    rig.actor
        .incidents
        .take(&over(&incident, (rig.actor.clock)()));
    rig.hear(
        "latency",
        50.0,
        Coverage {
            asked: 2,
            answered: 1,
            failed: 1,
        },
    );
    driver.scale_back_once().await.unwrap();
    assert_eq!(scaled(&rig), [4]);
    rig.hear("latency", 50.0, WHOLE);
    driver.scale_back_once().await.unwrap();
    assert_eq!(scaled(&rig), [4, 2]);
}

#[tokio::test]
async fn what_someone_else_changed_since_is_left_alone() {
    let (rig, incident) = rig().await;
    let mut decision = rig.decision(&proposal(&incident, solutions::SCALE_DOWN, 0));
    let driver = rig.driver();
    driver.drive(&mut decision).await.unwrap();
    rig.world.change("9");
    rig.hear("latency", 200.0, WHOLE);
    driver.verify(&mut decision).await.unwrap();
    let undo = decision.undo.unwrap();
    assert_eq!(
        (decision.state, undo.state),
        (DecisionState::Done, UndoState::Kept)
    );
    assert!(undo.reason.contains("someone else"), "{}", undo.reason);
    assert_eq!(scaled(&rig), [1]);
}

#[tokio::test]
async fn a_restart_can_t_be_taken_back_and_says_so() {
    let (rig, incident) = rig().await;
    let decision = in_vain(&rig, &proposal(&incident, solutions::RESTART_SERVICE, 0)).await;
    let undo = decision.undo.unwrap();
    assert_eq!(
        (undo.state, undo.reason.as_str()),
        (UndoState::Kept, "restart can't be taken back")
    );
    assert_eq!(
        rig.world.performed(),
        [Operation::Restart { target: web() }]
    );
}

#[tokio::test]
async fn an_undo_that_a_crash_cut_off_is_finished_and_not_done_twice() {
    let (rig, incident) = rig().await;
    let mut decision = in_vain(&rig, &proposal(&incident, solutions::SCALE_DOWN, 0)).await;
    // As it was when the intent to take it back was on record, and its outcome was not.
    decision.state = DecisionState::Acting;
    decision.undo.as_mut().unwrap().state = UndoState::Undoing;
    let last = decision.operations.last_mut().unwrap();
    (last.outcome, last.done_at) = (None, None);
    rig.driver().drive(&mut decision).await.unwrap();
    assert_eq!(
        (decision.state, decision.undo.unwrap().state),
        (DecisionState::Undone, UndoState::Undone)
    );
    assert_eq!(scaled(&rig), [1, 2]);
}

#[tokio::test]
async fn two_steps_up_are_taken_back_one_after_the_other() {
    let (rig, incident) = rig_with(|actor| actor.policy.cooldown = Duration::ZERO).await;
    for attempt in [0, 1] {
        in_vain(&rig, &proposal(&incident, solutions::SCALE_UP, attempt)).await;
    }
    rig.actor
        .incidents
        .take(&over(&incident, (rig.actor.clock)()));
    rig.hear("latency", 50.0, WHOLE);
    rig.driver().scale_back_once().await.unwrap();
    assert_eq!(scaled(&rig), [4, 8, 4, 2]);
}

/// Hears what is wrong until a person is asked whether it may be taken back.
async fn asked_back(rig: &Rig, id: &DecisionId) -> Decision {
    let asked = async {
        loop {
            rig.hear("latency", 200.0, WHOLE);
            let decision = rig.actor.history.decision(id).await.unwrap().unwrap();
            if decision.state == DecisionState::Held && decision.undo.is_some() {
                return decision;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap()
}

#[tokio::test]
async fn where_a_person_is_asked_before_something_is_done_they_are_before_it_is_taken_back() {
    let yes = (true, DecisionState::Undone, UndoState::Undone, vec![1, 2]);
    let no = (false, DecisionState::Done, UndoState::Kept, vec![1]);
    for (answer, ends, undo, replicas) in [yes, no] {
        let (rig, incident) = rig_with(|actor| actor.policy.mode = Mode::Approve).await;
        let running = rig.start();
        let solution = proposal(&incident, solutions::SCALE_DOWN, 0);
        rig.offer(&solution);
        let id = DecisionId::from(solution.id.clone());
        let held = rig
            .when(&id, |decision| decision.state == DecisionState::Held)
            .await;
        rig.actor
            .answer(&id, &held.question.unwrap().id, true, "anna", "try it")
            .await
            .unwrap();
        let asked = asked_back(&rig, &id).await.question.unwrap();
        assert_eq!(
            asked.operation,
            Operation::Scale {
                target: web(),
                replicas: 2
            }
        );
        assert_eq!(scaled(&rig), [1]);
        // What was asked before a crash is still asked after it.
        running.end().await;
        let running = rig.start();
        rig.actor
            .answer(&id, &asked.id, answer, "bert", "for the night")
            .await
            .unwrap();
        let ended = rig.when(&id, |decision| decision.state == ends).await;
        let became = ended.undo.unwrap();
        assert_eq!(
            (became.state, scaled(&rig)),
            (undo, replicas),
            "{}",
            became.reason
        );
        assert_eq!(
            became.reason.contains("bert said no: for the night"),
            !answer,
            "{}",
            became.reason
        );
        assert_eq!((ended.answers.len(), ended.question), (2, None));
        running.end().await;
    }
}

#[tokio::test]
async fn they_are_also_before_what_was_scaled_up_goes_back() {
    let (mut rig, incident) = rig().await;
    let decision = in_vain(&rig, &proposal(&incident, solutions::SCALE_UP, 0)).await;
    rig.actor
        .incidents
        .take(&over(&incident, (rig.actor.clock)()));
    rig.hear("latency", 50.0, WHOLE);
    // From now on.
    Arc::get_mut(&mut rig.actor).unwrap().policy.mode = Mode::Approve;
    assert_eq!(
        rig.driver().scale_back_once().await.unwrap(),
        std::slice::from_ref(&decision.id)
    );
    assert!(
        rig.driver().scale_back_once().await.unwrap().is_empty(),
        "asked is asked"
    );
    let running = rig.start();
    let asked = rig
        .when(&decision.id, |decision| {
            decision.state == DecisionState::Held
        })
        .await
        .question
        .unwrap();
    assert_eq!(
        asked.operation,
        Operation::Scale {
            target: web(),
            replicas: 2
        }
    );
    rig.actor
        .answer(&decision.id, &asked.id, true, "anna", "it is quiet")
        .await
        .unwrap();
    rig.when(&decision.id, |decision| {
        decision.state == DecisionState::Undone
    })
    .await;
    assert_eq!(scaled(&rig), [4, 2]);
    running.end().await;
}
