//! Tests of the guard's verdicts.

mod approval;
mod budgets;
mod changes;
mod notices;
mod properties;
mod quiet_times;
mod rate_limit;

use serde_json::{Value, json};

use super::*;
use Verdict::{Allow, Deny, Hold, Shadow};
use anomalyzer_domain::testing::{self, coverage, web};
use anomalyzer_domain::{
    Autoscaler, Coverage, HttpRequest, MergePatch, Mode, Notice, Operation, Replicas, Snapshot,
    Target, Verdict,
};

pub(super) const NOW: i64 = 1_000_000_000;

fn snapshot() -> Snapshot {
    let replicas = Replicas {
        desired: 2,
        ready: 2,
    };
    Snapshot {
        version: "7".into(),
        ..Snapshot::plain(web(), NOW, Some(replicas))
    }
}

pub(super) fn facts(operation: Operation) -> Facts {
    Facts {
        now: NOW,
        jumped: 0,
        source: Source::Engine,
        solution: "scale_up".into(),
        plugin_mode: Mode::Auto,
        target: Some(web()),
        expires_at: NOW + 60_000,
        incident: Some(IncidentFacts {
            open: Some(true),
            coverage: coverage(1, 1),
            as_of: Some(NOW - 1_000),
            ..IncidentFacts::default()
        }),
        diagnosis: DiagnosisFacts::default(),
        operation: Some(operation),
        effect: None,
        takes_back: false,
        approved: None,
        snapshot: Some(snapshot()),
        target_facts: TargetFacts::default(),
        stopped: None,
        record_mismatch: None,
        silenced: None,
        open_incidents: 1,
        spent: Spent::default(),
        past: vec![],
        rate_limit: None,
    }
    .with_effect(None)
}

pub(super) fn scale(replicas: u32) -> Operation {
    testing::scale(web(), replicas)
}

fn notify(title: &str) -> Operation {
    Operation::Notify(Notice {
        channel: "default".into(),
        title: title.into(),
        text: String::new(),
    })
}

fn hook() -> Operation {
    Operation::Http(HttpRequest {
        method: "POST".into(),
        url: "http://hook/".into(),
        headers: vec![],
        body: None,
    })
}

fn by_person(facts: Facts) -> Facts {
    Facts {
        source: Source::Person,
        ..facts
    }
}

/// Makes a scaling of the target by `scale_up` that took effect.
fn past_scaling(replicas: Option<u32>, asked_at: i64) -> PastOperation {
    PastOperation {
        target: web(),
        solution: "scale_up".into(),
        kind: "scale".into(),
        replicas,
        notice: None,
        asked_at,
        took_effect: true,
    }
}

#[track_caller]
fn check(facts: &Facts, policy: &Policy, verdict: Verdict, rule: &str) {
    let answer = judge(facts, policy);
    assert_eq!(
        (answer.verdict, answer.rule.as_str()),
        (verdict, rule),
        "{}",
        answer.reason
    );
}

#[test]
fn what_no_rule_objects_to_is_allowed() {
    check(&facts(scale(4)), &Policy::default(), Allow, "default");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_rule_refuses_what_it_is_there_for() {
    let policy = Policy::default();
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut facts = facts(scale(4));
        change(&mut facts);
        facts
    };
    check(&with(&|f| f.target = None), &policy, Deny, "no_target");
    check(
        &with(&|f| f.target = Some(Target::new("shop", "Deployment", "db"))),
        &policy,
        Deny,
        "other_target",
    );
    check(
        &with(&|f| f.now = f.expires_at + 1),
        &policy,
        Deny,
        "expired",
    );
    check(
        &with(&|f| f.source = Source::Foreign),
        &policy,
        Hold,
        "foreign",
    );
    check(
        &with(&|f| f.incident.as_mut().unwrap().open = None),
        &policy,
        Deny,
        "incident_unknown",
    );
    check(
        &with(&|f| f.incident.as_mut().unwrap().open = Some(false)),
        &policy,
        Deny,
        "incident_cleared",
    );
    check(
        &with(&|f| f.snapshot = None),
        &policy,
        Deny,
        "unknown_state",
    );
    check(
        &with(&|f| f.snapshot.as_mut().unwrap().rolling_out = true),
        &policy,
        Deny,
        "rollout_in_progress",
    );
    let autoscaler = Autoscaler {
        kind: "HorizontalPodAutoscaler".into(),
        name: "web".into(),
        min: 1,
        max: 5,
    };
    check(
        &with(&|f| f.snapshot.as_mut().unwrap().autoscaler = Some(autoscaler.clone())),
        &policy,
        Deny,
        "autoscaler",
    );
    let beyond = judge(
        &with(&|f| {
            f.snapshot.as_mut().unwrap().autoscaler = Some(Autoscaler {
                max: 2,
                ..autoscaler.clone()
            });
        }),
        &policy,
    );
    assert_eq!(
        beyond.reason,
        "HorizontalPodAutoscaler web scales the target between 1 and 2 replicas: for 4, raise its maxReplicas"
    );
    check(
        &with(&|f| f.snapshot.as_mut().unwrap().managed_by = vec!["argocd".into()]),
        &policy,
        Deny,
        "gitops",
    );
    check(&facts(scale(11)), &policy, Deny, "replica_bounds");
    check(
        &with(&|f| f.past = vec![past_scaling(None, NOW - 1_000)]),
        &policy,
        Deny,
        "cooldown",
    );
    check(
        &facts(scale(4)),
        &Policy {
            mode: Mode::Shadow,
            ..Policy::default()
        },
        Shadow,
        "mode",
    );
    check(
        &facts(scale(4)),
        &Policy {
            mode: Mode::Approve,
            ..Policy::default()
        },
        Hold,
        "mode",
    );
}

#[test]
fn facts_without_further_knowledge_are_recorded_as_before() {
    let recorded = serde_json::to_value(facts(scale(4))).unwrap();
    assert!(recorded.get("target_facts").is_none());
    let read: Facts = serde_json::from_value(recorded).unwrap();
    assert_eq!(read, facts(scale(4)));
}
