use std::time::Duration;

use super::rig::{Rig, TEST_TIMEOUT, coverage, incident, proposal, recorded_as, web};
use crate::Executor;
use anomalyzer_domain::{
    Decision, DecisionId, DecisionState, Incident, Mode, Operation, Solution, UndoState,
    VerificationOutcome, solutions,
};
use anomalyzer_verification::VerifyConfig;

/// Carries a solution out while its signal stays as bad as it was.
pub(super) async fn in_vain(rig: &Rig, solution: &Solution) -> Decision {
    let mut decision = rig.act(solution).await;
    rig.hear("latency", 200.0, coverage(1, 1));
    rig.advance(&mut decision).await;
    decision
}

/// Builds a rig whose verification takes 300 ms, with an open incident.
pub(super) async fn rig() -> (Rig, Incident) {
    rig_with(|_| {}).await
}

pub(super) async fn rig_with(change: impl FnOnce(&mut Executor)) -> (Rig, Incident) {
    let verify = VerifyConfig {
        settle: Duration::ZERO,
        observe: Duration::from_millis(300),
        min_samples: 1,
        scale_back_after: Duration::ZERO,
        ..VerifyConfig::default()
    };
    let rig = Rig::with(|executor| {
        executor.verify = verify;
        change(executor);
    })
    .await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    (rig, incident)
}

pub(super) fn scaled(rig: &Rig) -> Vec<u32> {
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
        (decision.state(), undo.state),
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
async fn what_someone_else_changed_since_is_left_alone() {
    let (rig, incident) = rig().await;
    let mut decision = rig.decision(&proposal(&incident, solutions::SCALE_DOWN, 0));
    rig.advance(&mut decision).await;
    rig.world.change("9");
    rig.hear("latency", 200.0, coverage(1, 1));
    rig.advance(&mut decision).await;
    let undo = decision.undo.as_ref().unwrap();
    assert_eq!(
        (decision.state(), undo.state),
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
    let decision = in_vain(&rig, &proposal(&incident, solutions::SCALE_DOWN, 0)).await;
    // The state on record after the intent of the rollback and before its outcome.
    let mut decision = recorded_as(&decision, DecisionState::Acting);
    decision.undo.as_mut().unwrap().state = UndoState::Undoing;
    let last = decision.operations.last_mut().unwrap();
    (last.outcome, last.done_at) = (None, None);
    rig.advance(&mut decision).await;
    assert_eq!(
        (decision.state(), decision.undo.unwrap().state),
        (DecisionState::Undone, UndoState::Undone)
    );
    assert_eq!(scaled(&rig), [1, 2]);
}

/// Keeps the signal bad until a person is asked to approve the rollback.
async fn asked_back(rig: &Rig, id: &DecisionId) -> Decision {
    let asked = async {
        loop {
            rig.hear("latency", 200.0, coverage(1, 1));
            let decision = rig.executor.history.decision(id).await.unwrap().unwrap();
            if decision.state() == DecisionState::Held && decision.undo.is_some() {
                return decision;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, asked).await.unwrap()
}

#[tokio::test]
async fn where_a_person_is_asked_before_something_is_done_they_are_before_it_is_taken_back() {
    let yes = (true, DecisionState::Undone, UndoState::Undone, vec![1, 2]);
    let no = (false, DecisionState::Done, UndoState::Kept, vec![1]);
    for (answer, ends, undo, replicas) in [yes, no] {
        let (rig, incident) = rig_with(|executor| executor.policy.mode = Mode::Approve).await;
        let running = rig.start();
        let solution = proposal(&incident, solutions::SCALE_DOWN, 0);
        rig.offer(&solution);
        let id = DecisionId::from(solution.id.clone());
        let held = rig
            .when(&id, |decision| decision.state() == DecisionState::Held)
            .await;
        rig.executor
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
        rig.executor
            .answer(&id, &asked.id, answer, "bert", "for the night")
            .await
            .unwrap();
        let ended = rig.when(&id, |decision| decision.state() == ends).await;
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
