use std::sync::Arc;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection, Executor};
use tokio_util::sync::CancellationToken;

use super::rig::{
    Rig, TEST_TIMEOUT, event, foreign_id, incident, interrupted, proposal, request, scale, walk,
    web,
};
use anomalyzer_bus::fake::Failing;
use anomalyzer_domain::{
    Decision, DecisionId, DecisionState, OutcomeKind, Record, Solution, Topic, solutions,
};
use anomalyzer_history::{DecisionEvent, DecisionEventKind, FILE_NAME};

async fn put_on_record(rig: &Rig, decision: &Decision) {
    let event = DecisionEvent {
        kind: DecisionEventKind::Proposed,
        at: 0,
        decision: decision.clone(),
        input: None,
    };
    rig.executor.history.record(event).await.unwrap();
}

#[tokio::test]
async fn what_was_left_unfinished_is_taken_up_once_however_often_the_loop_is_started() {
    let rig = Rig::new().await;
    let left = rig.decision(&request(solutions::RESTART_SERVICE));
    put_on_record(&rig, &left).await;
    // The bus is out of reach: nothing begins, so that nothing is begun twice.
    rig.bus.fail(Failing {
        subscribe: 1,
        ..Failing::default()
    });
    assert!(
        Arc::clone(&rig.executor)
            .run("test", CancellationToken::new())
            .await
            .is_err()
    );
    assert_eq!(
        rig.executor
            .history
            .events_of(&left.id)
            .await
            .unwrap()
            .len(),
        1
    );
    rig.world.answers.forget_permits(1_000);
    let (first, second) = (rig.start(), rig.start());
    rig.offer(&request(solutions::RESTART_SERVICE));
    rig.world.begun.acquire().await.unwrap().forget();
    rig.world.answers.add_permits(10);
    assert_eq!(rig.ended(&left.id).await.state(), DecisionState::Done);
    first.end().await;
    second.end().await;
    assert_eq!((rig.world.performed().len(), rig.bus.subscribed()), (1, 2));
}

#[tokio::test]
async fn told_to_stop_it_ends_the_step_that_it_is_at_and_records_what_came_of_it() {
    let rig = Rig::new().await;
    rig.world.answers.forget_permits(1_000);
    let asked = request(solutions::RESTART_SERVICE);
    rig.executor.accept(&asked).await.unwrap();
    let running = rig.start();
    rig.world.begun.acquire().await.unwrap().forget();
    running.stop.cancel();
    rig.world.answers.add_permits(10);
    running.end().await;
    let decision = rig.when(&DecisionId::from(asked.id), |_| true).await;
    let outcome = decision.operations[0]
        .outcome
        .as_ref()
        .map(|outcome| outcome.kind);
    assert_eq!(
        (decision.state(), outcome),
        (DecisionState::Acting, Some(OutcomeKind::Done))
    );
    // Taken up where it was.
    let running = rig.start();
    assert_eq!(rig.ended(&decision.id).await.state(), DecisionState::Done);
    assert_eq!(rig.world.performed().len(), 1);
    running.end().await;
}

#[tokio::test]
async fn while_the_history_cannot_be_written_nothing_is_done_and_nothing_is_forgotten() {
    let rig = Rig::new().await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let file = rig.folder.path().join(FILE_NAME);
    let mut other = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(file)
        .connect()
        .await
        .unwrap();
    let full = "CREATE TRIGGER no_room BEFORE INSERT ON decision_events BEGIN SELECT RAISE(ABORT, 'no room'); END";
    // The operation is performed while there is no room for its outcome.
    rig.world.answers.forget_permits(1_000);
    let solution = proposal(&incident, solutions::RESTART_SERVICE, 0);
    let running = rig.start();
    rig.offer(&solution);
    rig.world.begun.acquire().await.unwrap().forget();
    other.execute(full).await.unwrap();
    rig.world.answers.add_permits(10);
    let next = Solution {
        id: "dec-next".into(),
        incident: None,
        ..request(solutions::NO_ACTION)
    };
    let offset = rig.offer(&next);
    let problem = async {
        while rig.executor.history.health().problem.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, problem).await.unwrap();
    let id = DecisionId::from(solution.id.clone());
    assert_eq!(rig.when(&id, |_| true).await.state(), DecisionState::Acting);
    assert!(!rig.bus.committed().contains(&offset));
    other.execute("DROP TRIGGER no_room").await.unwrap();
    other.close().await.unwrap();
    let decision = rig.ended(&id).await;
    assert_eq!(
        decision.operations[0].outcome.as_ref().unwrap().kind,
        OutcomeKind::Done
    );
    assert_eq!(
        (decision.state(), rig.world.performed().len()),
        (DecisionState::Done, 1)
    );
    rig.ended(&foreign_id(offset)).await;
    running.end().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_committed_only_when_it_is_set_aside() {
    let rig = Rig::new().await;
    rig.bus.fail(Failing {
        dead_letter: 1,
        ..Failing::default()
    });
    let offset = rig.bus.offer(
        Topic::Solutions,
        Record {
            payload: b"{".as_slice().into(),
            ..Record::default()
        },
    );
    let running = rig.start();
    let committed = async {
        while !rig.bus.committed().contains(&offset) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, committed).await.unwrap();
    assert_eq!(rig.bus.set_aside().len(), 1);
    running.end().await;
}

#[tokio::test]
async fn what_was_acting_at_a_crash_is_settled_at_the_start() {
    let rig = Rig::new().await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let mut left = rig.decision(&proposal(&incident, solutions::SCALE_UP, 0));
    left.transition(DecisionState::Acting).unwrap();
    let record = interrupted(&left, scale(web(), 3));
    rig.world.mark(&web(), &record.id);
    left.operations.push(record);
    put_on_record(&rig, &left).await;
    let running = rig.start();
    let decision = rig.ended(&left.id).await;
    assert_eq!(
        (decision.state(), decision.operations.len()),
        (DecisionState::Done, 1)
    );
    assert!(decision.verification.is_some());
    assert_eq!(rig.world.performed(), []);
    running.end().await;
}

#[tokio::test]
async fn the_analyst_is_asked_again_about_what_ended_just_before_a_crash_unless_something_followed()
{
    let rig = Rig::new().await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    rig.record(&event(&incident)).await;
    let mut left = rig.decision(&proposal(&incident, solutions::SCALE_UP, 0));
    walk(&mut left, &[DecisionState::Acting, DecisionState::Failed]);
    put_on_record(&rig, &left).await;
    let running = rig.start();
    let asked = async {
        while rig.asked_again() != [1] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, asked).await.unwrap();
    running.end().await;
    let mut followed = rig.decision(&proposal(&incident, solutions::ALARM, 1));
    walk(&mut followed, &[DecisionState::Acting, DecisionState::Done]);
    put_on_record(&rig, &followed).await;
    let running = rig.start();
    let offered = rig.offer(&request(solutions::RESTART_SERVICE));
    rig.ended(&foreign_id(offered)).await;
    assert_eq!(rig.asked_again(), [1]);
    running.end().await;
}
