use serde_json::{Value, json};

use super::*;
use crate::tests::{NOW, facts, scale};
use crate::{Facts, PastOperation, Policy, RateLimitFacts, judge};
use anomalyzer_domain::testing::{coverage, web};
use anomalyzer_domain::{Autoscaler, Replicas, Target, Verdict};

fn patch_of(kind: &str, patch: Value) -> Operation {
    let target = Target::new("shop", kind, "web");
    Operation::Patch(MergePatch { target, patch })
}

fn patch(patch: Value) -> Operation {
    patch_of("Deployment", patch)
}

fn http(method: &str) -> Operation {
    Operation::Http(HttpRequest {
        method: method.into(),
        url: "http://hook/".into(),
        headers: vec![],
        body: None,
    })
}

fn custom() -> Operation {
    Operation::Custom {
        name: "notify".into(),
        arguments: Value::Null,
    }
}

/// Every way to set the target to `replicas`.
fn scalings(replicas: u32) -> Vec<Operation> {
    vec![
        scale(replicas),
        patch(json!({"spec": {"replicas": replicas}})),
        patch(
            json!({"spec": {"replicas": replicas, "paused": true}, "metadata": {"labels": {"a": "b"}}}),
        ),
    ]
}

/// Operations that set the target to an unknown number of replicas, or could.
fn unknown_scalings() -> Vec<Operation> {
    let mut all: Vec<Operation> = [
        json!(-1),
        json!(1.5),
        json!("2"),
        json!([]),
        json!({}),
        json!(u64::MAX),
    ]
    .into_iter()
    .map(|odd| patch(json!({"spec": {"replicas": odd}})))
    .collect();
    all.extend([
        patch(Value::Null),
        patch(json!([])),
        patch(json!({"spec": null})),
        patch(json!({"spec": "x"})),
        patch_of("Process", json!({"replicas": null})),
        custom(),
        http("POST"),
        http("put"),
        http("DELETE"),
        http("odd"),
    ]);
    all
}

/// Operations that interrupt their target without a new number of replicas.
fn interruptions() -> Vec<Operation> {
    vec![
        Operation::Restart { target: web() },
        Operation::RollBack { target: web() },
        patch(json!({"spec": {"template": {"spec": {"containers": []}}}})),
        patch(json!({"spec": {"template": null}})),
        patch(json!({"spec": {"paused": false}})),
        patch(json!({"spec": {"paused": null}})),
        patch(json!({"spec": {"updateStrategy": {"type": "RollingUpdate"}}})),
        patch(json!({"spec": {"new_in_a_later_version": 1}})),
        patch(json!({"spec": {"Replicas": 0}})),
        patch(json!({"metadata": null})),
        patch(json!({"metadata": {"finalizers": []}})),
        patch(json!({"status": {"replicas": 0}})),
        patch_of("Process", json!({"environment": {"MODE": "slow"}})),
        patch_of("Process", json!({"environment": {}})),
        patch_of("Pod", json!({"metadata": {"labels": {"app": null}}})),
        patch_of("Pod", json!({"spec": {"activeDeadlineSeconds": 1}})),
        patch_of("Ingress", json!({"spec": {"rules": []}})),
    ]
}

fn harmless() -> Vec<Operation> {
    vec![
        patch(json!({})),
        patch(json!({"spec": {}})),
        patch(json!({"metadata": {"annotations": {"a": "b"}, "labels": {"a": null}}})),
        patch(json!({"spec": {"minReadySeconds": 5, "progressDeadlineSeconds": 9}})),
        patch(json!({"spec": {"revisionHistoryLimit": 3, "paused": true}})),
        patch(json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 1}}}})),
        patch_of(
            "Ingress",
            json!({"metadata": {"annotations": {"limit-rps": "5"}}}),
        ),
        http("GET"),
        http("head"),
    ]
}

/// Returns the facts about an operation on a Deployment with 4 replicas, of which `ready` serve.
fn on_four(operation: &Operation, ready: u32, change: impl Fn(&mut Facts)) -> Facts {
    let mut facts = facts(operation.clone());
    // A rule that comes earlier refuses an operation on another target.
    facts.target = operation.target().cloned().or(facts.target);
    if let Some(snapshot) = &mut facts.snapshot {
        snapshot.replicas = Some(Replicas { desired: 4, ready });
    }
    change(&mut facts);
    facts.with_effect(None)
}

#[track_caller]
fn check(facts: &Facts, verdict: Verdict, rule: &str) {
    let answer = judge(facts, &Policy::default());
    assert_eq!(
        (answer.verdict, answer.rule.as_str()),
        (verdict, rule),
        "{:?}: {}",
        facts.operation,
        answer.reason
    );
}

fn blind(facts: &mut Facts) {
    if let Some(incident) = &mut facts.incident {
        incident.coverage = coverage(1, 0);
    }
}

#[test]
fn each_rule_judges_every_operation_by_its_effect() {
    let (deny, hold, allow) = (Verdict::Deny, Verdict::Hold, Verdict::Allow);
    for operation in scalings(3) {
        check(&on_four(&operation, 4, |_| {}), allow, "default");
        check(&on_four(&operation, 4, blind), deny, "missing_data");
        check(&on_four(&operation, 1, |_| {}), deny, "healthy_floor");
        let hpa = |facts: &mut Facts| {
            if let Some(snapshot) = &mut facts.snapshot {
                snapshot.autoscaler = Some(Autoscaler {
                    kind: "HorizontalPodAutoscaler".into(),
                    name: "web".into(),
                    min: 1,
                    max: 9,
                });
            }
        };
        check(&on_four(&operation, 4, hpa), deny, "autoscaler");
        let turned = |facts: &mut Facts| {
            let past = |(replicas, minutes): (u32, i64)| PastOperation {
                target: web(),
                solution: "other".into(),
                kind: "patch".into(),
                replicas: Some(replicas),
                notice: None,
                asked_at: NOW - minutes * 60_000,
                took_effect: true,
            };
            facts.past = [(3, 40), (4, 30), (3, 20), (4, 10)].map(past).into();
        };
        check(&on_four(&operation, 4, turned), deny, "oscillation");
    }
    for operation in [scalings(0), scalings(11), unknown_scalings()].concat() {
        check(&on_four(&operation, 4, |_| {}), deny, "replica_bounds");
    }
    for operation in [scalings(0), unknown_scalings(), interruptions()].concat() {
        check(&on_four(&operation, 4, blind), deny, "missing_data");
    }
    // A missing number of replicas means 1.
    let unset = patch(json!({"spec": {"replicas": null}}));
    check(&on_four(&unset, 4, |_| {}), deny, "healthy_floor");
    for operation in interruptions() {
        let rolling = |facts: &mut Facts| {
            if let Some(snapshot) = &mut facts.snapshot {
                snapshot.rolling_out = true;
            }
        };
        check(&on_four(&operation, 4, |_| {}), allow, "default");
        check(
            &on_four(&operation, 4, rolling),
            deny,
            "rollout_in_progress",
        );
        check(
            &on_four(&operation, 4, |facts| facts.open_incidents = 99),
            hold,
            "storm",
        );
        let undo = |facts: &mut Facts| {
            blind(facts);
            facts.take_back();
        };
        check(&on_four(&operation, 4, undo), allow, "default");
    }
    for operation in harmless() {
        check(&on_four(&operation, 4, blind), allow, "default");
    }
}

#[test]
fn a_configured_request_that_limits_the_rate_is_not_drastic_and_no_other_request_is_that() {
    let limit = |solution: &str, patches: Option<Target>| {
        on_four(&http("POST"), 4, |facts| {
            blind(facts);
            facts.solution = solution.into();
            facts.rate_limit = Some(RateLimitFacts {
                patches: patches.clone(),
            });
        })
    };
    check(&limit("rate_limit", None), Verdict::Allow, "default");
    check(&limit("my_limit", None), Verdict::Deny, "missing_data");
    check(
        &limit("rate_limit", Some(web())),
        Verdict::Deny,
        "missing_data",
    );
}

#[test]
fn a_request_is_judged_by_the_effect_that_its_grant_declares() {
    use DeclaredEffect::{Environment, None as Nothing, Replicas as Number, Template};
    let (deny, allow) = (Verdict::Deny, Verdict::Allow);
    let by_hpa = |facts: &mut Facts| {
        if let Some(snapshot) = &mut facts.snapshot {
            snapshot.autoscaler = Some(Autoscaler {
                kind: "HorizontalPodAutoscaler".into(),
                name: "web".into(),
                min: 1,
                max: 9,
            });
        }
    };
    let rolling = |facts: &mut Facts| {
        if let Some(snapshot) = &mut facts.snapshot {
            snapshot.rolling_out = true;
        }
    };
    type Change = fn(&mut Facts);
    let cases: [(Option<DeclaredEffect>, Change, Verdict, &str); 17] = [
        (None, |_| {}, deny, "replica_bounds"),
        (None, blind, deny, "missing_data"),
        (None, by_hpa, deny, "autoscaler"),
        (None, rolling, deny, "rollout_in_progress"),
        (Some(Number), |_| {}, deny, "replica_bounds"),
        (Some(Number), blind, deny, "missing_data"),
        (Some(Number), by_hpa, deny, "autoscaler"),
        (Some(Template), |_| {}, allow, "default"),
        (Some(Template), blind, deny, "missing_data"),
        (Some(Template), by_hpa, allow, "default"),
        (Some(Template), rolling, deny, "rollout_in_progress"),
        (Some(Environment), |_| {}, allow, "default"),
        (Some(Environment), blind, deny, "missing_data"),
        (Some(Environment), rolling, deny, "rollout_in_progress"),
        (Some(Nothing), blind, allow, "default"),
        (Some(Nothing), by_hpa, allow, "default"),
        (Some(Nothing), rolling, allow, "default"),
    ];
    for (declared, change, verdict, rule) in cases {
        for method in ["POST", "delete", "odd"] {
            let facts = on_four(&http(method), 4, change);
            let facts = facts.with_effect(declared.map(Effect::declared));
            let answer = judge(&facts, &Policy::default());
            let found = (answer.verdict, answer.rule.as_str());
            assert_eq!(found, (verdict, rule), "{method} declared {declared:?}");
            let hint = answer.reason.contains("add `effect` to its grant");
            assert_eq!(hint, declared.is_none() && rule == "replica_bounds");
        }
    }
}

#[test]
fn a_record_of_an_earlier_version_is_judged_by_the_verb_and_stays_as_it_is() {
    let all = [unknown_scalings(), interruptions(), harmless(), scalings(3)].concat();
    for operation in all {
        let mut old = on_four(&operation, 4, blind);
        old.effect = None;
        let record = serde_json::to_value(&old).unwrap();
        assert!(record.get("effect").is_none());
        let read: Facts = serde_json::from_value(record.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), record);
        let drastic = matches!(
            operation,
            Operation::Scale { .. } | Operation::Restart { .. } | Operation::RollBack { .. }
        );
        let denied = judge(&read, &Policy::default()).rule == "missing_data";
        assert_eq!(denied, drastic, "{operation:?}");
    }
}
