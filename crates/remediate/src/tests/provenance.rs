use super::rig::{Rig, cleared, event, foreign_id, incident, proposal, request};
use crate::AcceptError;
use anomalyzer_bus::fake::Failing;
use anomalyzer_domain::{
    DecisionId, DecisionState, Provenance, Solution, Target, Topic, solutions,
};

fn id(solution: &Solution) -> DecisionId {
    DecisionId::from(solution.id.clone())
}

#[tokio::test]
async fn who_only_says_that_a_person_asked_is_not_believed() {
    let rig = Rig::new().await;
    let running = rig.start();
    let offset = rig.offer(&request(solutions::RESTART_SERVICE));
    let decision = rig.ended(&foreign_id(offset)).await;
    assert_eq!(
        (decision.state(), decision.guard.unwrap().rule.as_str()),
        (DecisionState::Held, "foreign")
    );
    assert_eq!(decision.provenance.source, Provenance::TOPIC);
    assert_eq!(
        rig.executor
            .history
            .decision(&id(&request(solutions::RESTART_SERVICE)))
            .await
            .unwrap(),
        None
    );
    assert_eq!(rig.world.performed(), []);
    running.end().await;
}

#[tokio::test]
async fn a_persons_request_is_on_record_before_it_travels_and_the_record_counts() {
    let rig = Rig::new().await;
    let asked = request(solutions::RESTART_SERVICE);
    rig.executor.accept(&asked).await.unwrap();
    let recorded = rig.when(&id(&asked), |_| true).await;
    assert_eq!(
        (recorded.state(), recorded.provenance.by.as_str()),
        (DecisionState::Proposed, "alice")
    );
    assert_eq!(rig.bus.published(Topic::Solutions).len(), 1);
    // What comes by the topic has another target: it only says that it is time.
    let forged = Solution {
        target: Some(Target::new("shop", "Deployment", "pay")),
        ..asked.clone()
    };
    let running = rig.start();
    rig.offer(&forged);
    let decision = rig.ended(&id(&asked)).await;
    assert_eq!(
        (decision.state(), decision.target),
        (DecisionState::Done, asked.target.clone())
    );
    assert_eq!(rig.world.performed().len(), 1);
    running.end().await;
}

#[tokio::test]
async fn a_request_that_was_accepted_survives_a_crash_before_it_was_read() {
    let rig = Rig::new().await;
    let asked = request(solutions::RESTART_SERVICE);
    // It is on record although it could not be published, and is the same when it is sent again.
    rig.bus.fail(Failing {
        publish: 1,
        ..Failing::default()
    });
    assert!(matches!(
        rig.executor.accept(&asked).await,
        Err(AcceptError::Bus(_))
    ));
    rig.executor.accept(&asked).await.unwrap();
    assert_eq!(
        rig.executor
            .history
            .events_of(&id(&asked))
            .await
            .unwrap()
            .len(),
        1
    );
    // Nothing of it is delivered: the start finds it.
    let running = rig.start();
    assert_eq!(rig.ended(&id(&asked)).await.state(), DecisionState::Done);
    running.end().await;
}

#[tokio::test]
async fn our_analyst_is_known_by_an_incident_its_target_and_the_id_that_follows() {
    let rig = Rig::new().await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let running = rig.start();
    let ours = proposal(&incident, solutions::RESTART_SERVICE, 0);
    let elsewhere = Solution {
        target: Some(Target::new("shop", "Deployment", "pay")),
        ..ours.clone()
    };
    let other_id = Solution {
        id: "dec-0123456789abcdef".into(),
        ..ours.clone()
    };
    let no_incident = Solution {
        incident: None,
        ..ours.clone()
    };
    for forged in [elsewhere, other_id, no_incident] {
        let decision = rig.ended(&foreign_id(rig.offer(&forged))).await;
        assert_eq!(
            (decision.state(), decision.guard.unwrap().rule.as_str()),
            (DecisionState::Held, "foreign")
        );
    }
    assert_eq!(rig.world.performed(), []);
    rig.offer(&ours);
    let decision = rig.ended(&id(&ours)).await;
    assert_eq!(
        (decision.state(), decision.provenance.source.as_str()),
        (DecisionState::Done, Provenance::ENGINE)
    );
    assert_eq!(rig.world.performed().len(), 1);
    running.end().await;
}

#[tokio::test]
async fn a_solution_waits_for_its_incident_and_is_someone_elses_if_it_never_comes() {
    let rig = Rig::new().await;
    let known = incident(&["latency"]);
    let mut never = known.clone();
    never.id = "inc-never".into();
    let running = rig.start();
    let (early, forged) = (
        proposal(&known, solutions::NO_ACTION, 0),
        proposal(&never, solutions::RESTART_SERVICE, 0),
    );
    rig.offer(&forged);
    rig.offer(&early);
    rig.when(&id(&early), |decision| {
        decision.state() == DecisionState::Proposed
    })
    .await;
    rig.know(&known);
    let decision = rig.ended(&id(&early)).await;
    assert_eq!(
        (decision.state(), decision.provenance.source.as_str()),
        (DecisionState::Done, Provenance::ENGINE)
    );
    assert_eq!(decision.findings, known.findings);
    let decision = rig.ended(&id(&forged)).await;
    assert_eq!(
        (decision.state(), decision.provenance.source.as_str()),
        (DecisionState::Held, Provenance::TOPIC)
    );
    assert_eq!(rig.world.performed(), []);
    running.end().await;
}

#[tokio::test]
async fn an_incident_from_before_the_start_is_known_by_the_history() {
    let rig = Rig::new().await;
    let before = incident(&["latency"]);
    rig.record(&event(&before)).await;
    let decision = rig.drive(&proposal(&before, solutions::NO_ACTION, 0)).await;
    assert_eq!(
        (decision.state(), decision.provenance.source.as_str()),
        (DecisionState::Done, Provenance::ENGINE)
    );
    // Over by now: nothing is done about it any more.
    let over = cleared(&before, before.changed_at + 1);
    rig.record(&over).await;
    let decision = rig
        .drive(&proposal(&over.incident, solutions::SCALE_UP, 0))
        .await;
    assert_eq!(
        (decision.state(), decision.guard.unwrap().rule.as_str()),
        (DecisionState::Denied, "incident_cleared")
    );
}
