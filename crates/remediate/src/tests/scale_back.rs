use std::sync::Arc;
use std::time::Duration;

use super::rig::{cleared, coverage, proposal, web};
use super::rollback::{in_vain, rig, rig_with, scaled};
use anomalyzer_domain::{
    DecisionState, Mode, Operation, UndoState, VerificationOutcome, solutions,
};

#[tokio::test]
async fn a_target_under_load_keeps_what_it_got_until_the_incident_is_over() {
    let (rig, incident) = rig().await;
    let decision = in_vain(&rig, &proposal(&incident, solutions::SCALE_UP, 0)).await;
    assert_eq!(
        (decision.state(), decision.undo.as_ref().unwrap().state),
        (DecisionState::Done, UndoState::Later)
    );
    assert_eq!(rig.world.replicas(), 4);
    rig.scale_back_once().await;
    assert_eq!(rig.world.replicas(), 4);
    rig.executor
        .incidents
        .take(&cleared(&incident, (rig.executor.clock)()));
    rig.hear("latency", 50.0, coverage(1, 1));
    rig.scale_back_once().await;
    rig.scale_back_once().await;
    assert_eq!(scaled(&rig), [4, 2]);
    let decision = rig
        .executor
        .history
        .decision(&decision.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (decision.state(), decision.undo.unwrap().state),
        (DecisionState::Undone, UndoState::Undone)
    );
}

#[tokio::test]
async fn what_helped_goes_back_as_well_once_it_is_over_but_not_while_data_are_missing() {
    let (rig, incident) = rig().await;
    let mut decision = rig.decision(&proposal(&incident, solutions::SCALE_UP, 0));
    rig.advance(&mut decision).await;
    rig.hear("latency", 50.0, coverage(1, 1));
    rig.advance(&mut decision).await;
    assert_eq!(
        decision.verification.unwrap().outcome,
        VerificationOutcome::Improved
    );
    rig.executor
        .incidents
        .take(&cleared(&incident, (rig.executor.clock)()));
    rig.hear("latency", 50.0, coverage(2, 1));
    rig.scale_back_once().await;
    assert_eq!(scaled(&rig), [4]);
    rig.hear("latency", 50.0, coverage(1, 1));
    rig.scale_back_once().await;
    assert_eq!(scaled(&rig), [4, 2]);
}

#[tokio::test]
async fn two_steps_up_are_taken_back_one_after_the_other() {
    let (rig, incident) = rig_with(|executor| executor.policy.cooldown = Duration::ZERO).await;
    for attempt in [0, 1] {
        in_vain(&rig, &proposal(&incident, solutions::SCALE_UP, attempt)).await;
    }
    rig.executor
        .incidents
        .take(&cleared(&incident, (rig.executor.clock)()));
    rig.hear("latency", 50.0, coverage(1, 1));
    rig.scale_back_once().await;
    assert_eq!(scaled(&rig), [4, 8, 4, 2]);
}

#[tokio::test]
async fn they_are_also_before_what_was_scaled_up_goes_back() {
    let (mut rig, incident) = rig().await;
    let decision = in_vain(&rig, &proposal(&incident, solutions::SCALE_UP, 0)).await;
    rig.executor
        .incidents
        .take(&cleared(&incident, (rig.executor.clock)()));
    rig.hear("latency", 50.0, coverage(1, 1));
    // From now on.
    Arc::get_mut(&mut rig.executor).unwrap().policy.mode = Mode::Approve;
    assert_eq!(
        rig.scale_back_once().await,
        std::slice::from_ref(&decision.id)
    );
    assert!(rig.scale_back_once().await.is_empty(), "asked is asked");
    let running = rig.start();
    let asked = rig
        .when(&decision.id, |decision| {
            decision.state() == DecisionState::Held
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
    rig.executor
        .answer(&decision.id, &asked.id, true, "anna", "it is quiet")
        .await
        .unwrap();
    rig.when(&decision.id, |decision| {
        decision.state() == DecisionState::Undone
    })
    .await;
    assert_eq!(scaled(&rig), [4, 2]);
    running.end().await;
}
