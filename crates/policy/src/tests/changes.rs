//! Tests of the rules that protect a target from its changes.

use super::*;

#[test]
fn what_is_taken_away_leaves_enough_that_are_ready_and_is_not_too_much_at_once() {
    let of = |desired, ready, to| {
        let mut facts = facts(scale(to));
        facts.snapshot.as_mut().unwrap().replicas = Some(Replicas { desired, ready });
        facts
    };
    let policy = Policy::default();
    check(&of(4, 4, 2), &policy, Allow, "default");
    check(&of(4, 2, 2), &policy, Deny, "healthy_floor");
    check(&of(4, 4, 1), &policy, Deny, "healthy_floor");
    check(&of(4, 0, 8), &policy, Allow, "default");
    check(
        &Facts {
            takes_back: true,
            ..of(8, 8, 2)
        },
        &policy,
        Allow,
        "default",
    );
    check(
        &Facts {
            takes_back: true,
            ..of(8, 6, 2)
        },
        &policy,
        Deny,
        "healthy_floor",
    );
    check(&by_person(of(4, 0, 1)), &policy, Allow, "default");
}

#[test]
fn what_takes_back_may_come_late_and_after_the_incident_but_not_without_data() {
    let mut late = Facts {
        now: NOW + 3_600_000,
        ..facts(scale(1))
    };
    late.incident = Some(IncidentFacts {
        open: Some(false),
        coverage: coverage(1, 1),
        as_of: Some(late.now),
        ..IncidentFacts::default()
    });
    check(&late, &Policy::default(), Deny, "expired");
    late.take_back();
    check(&late, &Policy::default(), Allow, "default");
    late.incident.as_mut().unwrap().as_of = Some(NOW);
    check(&late, &Policy::default(), Deny, "missing_data");
}

#[test]
fn scaling_that_turns_again_and_again_ends() {
    let scaled = |past: &[u32], replicas: u32| Facts {
        past: past
            .iter()
            .zip(1..)
            .map(|(replicas, minutes)| PastOperation {
                solution: format!("solution-{minutes}"),
                ..past_scaling(Some(*replicas), NOW - 3_000_000 + minutes * 60_000)
            })
            .collect(),
        ..facts(scale(replicas))
    };
    let policy = Policy::default();
    check(&scaled(&[3, 4, 5, 6], 7), &policy, Allow, "default");
    check(&scaled(&[3, 2, 3], 2), &policy, Allow, "default");
    check(&scaled(&[3, 2, 3, 2], 3), &policy, Deny, "oscillation");
    let mut long_ago = scaled(&[3, 2, 3, 2], 3);
    long_ago
        .past
        .iter_mut()
        .for_each(|past| past.asked_at -= 3_600_000);
    check(&long_ago, &policy, Allow, "default");
    check(
        &by_person(scaled(&[3, 2, 3, 2], 3)),
        &policy,
        Allow,
        "default",
    );
}

#[test]
fn an_echo_of_replaced_pods_replaces_no_further_pods() {
    let echoing = |operation: Operation, until: i64| Facts {
        target_facts: TargetFacts {
            echo_until: Some(until),
            ..TargetFacts::default()
        },
        ..facts(operation)
    };
    let policy = Policy::default();
    let restart = || Operation::Restart { target: web() };
    let roll_back = || Operation::RollBack { target: web() };
    let patch = |patch: Value| {
        Operation::Patch(MergePatch {
            target: web(),
            patch,
        })
    };
    let template = patch(serde_json::json!({"spec": {"template": {"spec": {}}}}));
    for operation in [restart(), roll_back(), template] {
        let denied = echoing(operation.clone(), NOW + 1);
        check(&denied, &policy, Deny, "echo");
        assert!(is_temporary(&denied, &policy));
        check(&echoing(operation, NOW), &policy, Allow, "default");
    }
    for operation in [
        scale(4),
        patch(serde_json::json!({"spec": {"minReadySeconds": 1}})),
    ] {
        check(&echoing(operation, NOW + 1), &policy, Allow, "default");
    }
    let person = by_person(echoing(restart(), NOW + 1));
    check(&person, &policy, Allow, "default");
    let mut taken_back = echoing(roll_back(), NOW + 1);
    taken_back.take_back();
    check(&taken_back, &policy, Allow, "default");
}

#[test]
fn what_another_controller_put_back_is_not_repeated_unless_a_person_wants_it() {
    let policy = Policy::default();
    let mut reverted = facts(scale(4));
    reverted.target_facts.reverted_by = Some("argocd-controller".into());
    check(&reverted, &policy, Deny, "reverted");
    assert!(
        judge(&reverted, &policy)
            .reason
            .contains("argocd-controller")
    );
    reverted.source = Source::Person;
    check(&reverted, &policy, Allow, "default");
}
