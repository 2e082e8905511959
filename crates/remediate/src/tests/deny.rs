use std::sync::Arc;

use serde_json::json;

use super::rig::{Rig, coverage, event, incident, proposal, request, web};
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{
    DecisionState, Incident, IncidentEvent, IncidentEventKind, Parameters, Solution, Topic,
    Verdict, solutions,
};
use anomalyzer_policy::{Foreign, Selector};

/// An incident one of whose sources is silent, so that nothing drastic is done.
fn half_seen(rig: &Rig) -> Incident {
    let incident = incident(&["latency"]);
    rig.know(&incident);
    rig.hear("latency", 50.0, coverage(2, 1));
    incident
}

#[tokio::test]
async fn what_may_not_be_done_is_followed_by_another_diagnosis_so_that_somebody_is_told_in_the_end()
{
    let rig = Rig::new().await;
    let incident = half_seen(&rig);
    let denied = rig
        .drive(&proposal(&incident, solutions::RESTART_SERVICE, 1))
        .await;
    assert_eq!(
        (denied.state(), denied.guard.unwrap().rule.as_str()),
        (DecisionState::Denied, "missing_data")
    );
    assert_eq!(rig.asked_again(), [2]);
    let told = rig.bus.published(Topic::Incidents);
    let told = String::from_utf8_lossy(&told[0].payload).into_owned();
    assert!(
        told.contains("restart_service was tried before (denied)"),
        "{told}"
    );
}

#[tokio::test]
async fn what_an_operation_is_denied_for_is_followed_up_too() {
    let rig = Rig::with(|executor| executor.grants.clear()).await;
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let denied = rig
        .drive(&proposal(&incident, solutions::SCALE_UP, 0))
        .await;
    assert_eq!(
        (denied.state(), denied.guard.unwrap().rule.as_str()),
        (DecisionState::Denied, "grants")
    );
    assert_eq!(rig.asked_again(), [1]);
}

#[tokio::test]
async fn nothing_follows_on_what_is_too_late_on_the_last_word_and_on_what_others_asked_for() {
    let rig = Rig::with(|executor| {
        executor.grants.clear();
        executor.policy.foreign = Foreign::Deny;
    })
    .await;
    let incident = half_seen(&rig);
    let late = Solution {
        expires_at: 1_000,
        ..proposal(&incident, solutions::RESTART_SERVICE, 0)
    };
    let last = proposal(&incident, solutions::ALARM, 0);
    let theirs = Solution {
        id: "dec-theirs".into(),
        ..proposal(&incident, solutions::SCALE_UP, 0)
    };
    let theirs = Solution {
        provenance: anomalyzer_domain::Provenance {
            source: "topic".into(),
            by: "someone".into(),
        },
        ..theirs
    };
    let persons = request(solutions::SCALE_UP);
    for (solution, rule) in [
        (late, "expired"),
        (last, "grants"),
        (theirs, "foreign"),
        (persons, "grants"),
    ] {
        let decision = rig.drive(&solution).await;
        let guard = decision.guard.as_ref().unwrap();
        assert_eq!(
            (decision.state(), guard.verdict, guard.rule.as_str()),
            (DecisionState::Denied, Verdict::Deny, rule)
        );
    }
    assert_eq!(rig.asked_again(), [] as [u32; 0]);
}

/// An incident that the history knows as well.
async fn on_record(rig: &Rig) -> Incident {
    let incident = incident(&["latency"]);
    rig.know(&incident);
    rig.record(&event(&incident)).await;
    incident
}

#[tokio::test]
async fn what_was_denied_in_a_silence_is_thought_about_again_once_when_that_is_over() {
    let rig = Rig::new().await;
    let incident = on_record(&rig).await;
    let (silences, now) = (&rig.executor.silences, (rig.executor.clock)());
    let all = Selector::default();
    let silence = silences
        .add(all, "a move".into(), "anna".into(), now, now + 3_600_000)
        .await
        .unwrap();
    let denied = rig
        .drive(&proposal(&incident, solutions::RESTART_SERVICE, 0))
        .await;
    assert_eq!(
        (denied.state(), denied.guard.unwrap().rule.as_str()),
        (DecisionState::Denied, "silence")
    );
    rig.retry_deferred_once().await;
    assert_eq!(
        rig.asked_again(),
        [] as [u32; 0],
        "not as long as it is silenced"
    );
    silences.end(&silence.id, now).await.unwrap();
    rig.retry_deferred_once().await;
    rig.retry_deferred_once().await;
    assert_eq!(rig.asked_again(), [1], "once");
    let done = rig
        .drive(&proposal(&incident, solutions::RESTART_SERVICE, 1))
        .await;
    assert_eq!(done.state(), DecisionState::Done);
    assert_eq!(rig.world.performed().len(), 1);
}

#[tokio::test]
async fn somebody_s_rollout_is_waited_for() {
    let rig = Rig::new().await;
    let incident = on_record(&rig).await;
    rig.world.roll_out(true);
    let denied = rig
        .drive(&proposal(&incident, solutions::RESTART_SERVICE, 0))
        .await;
    assert_eq!(
        (denied.state(), denied.guard.unwrap().rule.as_str()),
        (DecisionState::Denied, "rollout_in_progress")
    );
    rig.retry_deferred_once().await;
    assert_eq!(rig.asked_again(), [] as [u32; 0]);
    rig.world.roll_out(false);
    rig.retry_deferred_once().await;
    assert_eq!(kinds(&rig), [IncidentEventKind::Confirmed]);
    assert_eq!(
        (rig.asked_again(), rig.world.performed()),
        (vec![1], vec![])
    );
}

#[tokio::test]
async fn a_rollout_that_does_not_end_is_something_that_people_hear_of() {
    let mut rig = Rig::new().await;
    let incident = on_record(&rig).await;
    rig.world.roll_out(true);
    rig.drive(&proposal(&incident, solutions::RESTART_SERVICE, 0))
        .await;
    Arc::get_mut(&mut rig.executor).unwrap().clock = Arc::new(|| now_ms() + 601_000);
    rig.retry_deferred_once().await;
    // As after failed attempts: the rules then tell people.
    assert_eq!(
        (kinds(&rig), rig.asked_again()),
        (vec![IncidentEventKind::Gathered], vec![1])
    );
}

/// Events that asked the analyst again.
fn kinds(rig: &Rig) -> Vec<IncidentEventKind> {
    let asked = rig.bus.published(Topic::Incidents);
    asked
        .iter()
        .map(|record| {
            serde_json::from_slice::<IncidentEvent>(&record.payload)
                .unwrap()
                .kind
        })
        .collect()
}

#[tokio::test]
async fn a_patch_that_restarts_or_scales_down_needs_data_like_the_operation_of_that_name() {
    for (patch, rule) in [
        (
            json!({"spec": {"template": {"rate": "{rate}"}}}),
            Some("missing_data"),
        ),
        (json!({"spec": {"replicas": 1}}), Some("missing_data")),
        (json!({"spec": {"replicas": 0}}), Some("missing_data")),
        (json!({"spec": {"replicas": 99}}), Some("replica_bounds")),
        (
            json!({"metadata": {"annotations": {"rate": "{rate}"}}}),
            None,
        ),
    ] {
        let configured =
            json!({"patch": {"target": web(), "patch": patch}, "requests_per_second": 5});
        let parameters: Parameters = serde_json::from_value(configured).unwrap();
        let rig = Rig::with(|executor| {
            executor.rate_limits = [(web().key(), parameters)].into();
        })
        .await;
        let incident = half_seen(&rig);
        let decision = rig
            .drive(&proposal(&incident, solutions::RATE_LIMIT, 0))
            .await;
        let denied = decision.operations.iter().find_map(|record| {
            let verdict = record.guard.clone()?;
            (verdict.verdict == Verdict::Deny).then_some(verdict.rule)
        });
        assert_eq!(denied.as_deref(), rule, "{patch}: {decision:?}");
        assert_eq!(rig.world.performed().is_empty(), rule.is_some());
    }
}
