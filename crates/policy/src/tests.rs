use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use anomalyzer_domain::{
    Autoscaler, Coverage, HttpRequest, MergePatch, Mode, Notice, Operation, Replicas, Snapshot,
    Target, Verdict,
};

pub(super) const NOW: i64 = 1_000_000_000;

pub(super) fn target() -> Target {
    Target::new("shop", "Deployment", "web")
}

fn snapshot() -> Snapshot {
    Snapshot {
        target: target(),
        at: NOW,
        version: "7".into(),
        replicas: Some(Replicas {
            desired: 2,
            ready: 2,
        }),
        rolling_out: false,
        autoscaler: None,
        managed_by: vec![],
        last_operation: None,
        changed_by: None,
        pods: vec![],
        events: vec![],
        raw: Value::Null,
    }
}

pub(super) fn facts(operation: Operation) -> Facts {
    Facts {
        now: NOW,
        jumped: 0,
        source: Source::Engine,
        solution: "scale_up".into(),
        plugin_mode: Mode::Auto,
        target: Some(target()),
        expires_at: NOW + 60_000,
        incident: Some(IncidentFacts {
            open: Some(true),
            coverage: Coverage {
                asked: 1,
                answered: 1,
                failed: 0,
            },
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
    .with_effect()
}

fn scale(replicas: u32) -> Operation {
    Operation::Scale {
        target: target(),
        replicas,
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
    check(
        &facts(scale(4)),
        &Policy::default(),
        Verdict::Allow,
        "default",
    );
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
    check(
        &with(&|f| f.target = None),
        &policy,
        Verdict::Deny,
        "no_target",
    );
    check(
        &with(&|f| f.target = Some(Target::new("shop", "Deployment", "db"))),
        &policy,
        Verdict::Deny,
        "other_target",
    );
    check(
        &with(&|f| f.now = f.expires_at + 1),
        &policy,
        Verdict::Deny,
        "expired",
    );
    check(
        &with(&|f| f.source = Source::Foreign),
        &policy,
        Verdict::Hold,
        "foreign",
    );
    check(
        &with(&|f| f.incident.as_mut().unwrap().open = None),
        &policy,
        Verdict::Deny,
        "incident_unknown",
    );
    check(
        &with(&|f| f.incident.as_mut().unwrap().open = Some(false)),
        &policy,
        Verdict::Deny,
        "incident_cleared",
    );
    check(
        &with(&|f| f.snapshot = None),
        &policy,
        Verdict::Deny,
        "unknown_state",
    );
    check(
        &with(&|f| f.snapshot.as_mut().unwrap().rolling_out = true),
        &policy,
        Verdict::Deny,
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
        Verdict::Deny,
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
        Verdict::Deny,
        "gitops",
    );
    check(&facts(scale(11)), &policy, Verdict::Deny, "replica_bounds");
    let past = PastOperation {
        target: target(),
        solution: "scale_up".into(),
        kind: "scale".into(),
        replicas: None,
        notice: None,
        asked_at: NOW - 1_000,
        took_effect: true,
    };
    check(
        &with(&|f| f.past = vec![past.clone()]),
        &policy,
        Verdict::Deny,
        "cooldown",
    );
    check(
        &facts(scale(4)),
        &Policy {
            mode: Mode::Shadow,
            ..Policy::default()
        },
        Verdict::Shadow,
        "mode",
    );
    check(
        &facts(scale(4)),
        &Policy {
            mode: Mode::Approve,
            ..Policy::default()
        },
        Verdict::Hold,
        "mode",
    );
}

#[test]
fn a_notice_goes_out_although_the_target_cannot_be_looked_at() {
    let mut facts = facts(Operation::Notify(Notice {
        channel: "default".into(),
        title: "t".into(),
        text: String::new(),
    }));
    facts.solution = "alarm".into();
    facts.snapshot = None;
    facts.incident.as_mut().unwrap().coverage = Coverage {
        asked: 1,
        answered: 0,
        failed: 1,
    };
    check(&facts, &Policy::default(), Verdict::Allow, "default");
}

fn patch(target: Target) -> Operation {
    Operation::Patch(MergePatch {
        target,
        patch: json!({"metadata": {"annotations": {"limit": "5"}}}),
    })
}

#[test]
fn a_rate_limit_touches_what_is_configured_for_the_target_and_nothing_else() {
    let way_in = Target::new("shop", "Ingress", "web");
    let limited = |operation: Operation, configured: Option<RateLimitFacts>| {
        let mut facts = facts(operation);
        facts.solution = "rate_limit".into();
        facts.rate_limit = configured;
        facts
    };
    let configured = || {
        Some(RateLimitFacts {
            patches: Some(way_in.clone()),
        })
    };
    let policy = Policy::default();
    check(
        &limited(patch(way_in.clone()), configured()),
        &policy,
        Verdict::Allow,
        "default",
    );
    check(
        &limited(patch(way_in.clone()), None),
        &policy,
        Verdict::Deny,
        "rate_limit",
    );
    let other = Target::new("shop", "Ingress", "pay");
    check(
        &limited(patch(other), configured()),
        &policy,
        Verdict::Deny,
        "other_target",
    );
    let calls = Some(RateLimitFacts { patches: None });
    check(
        &limited(patch(way_in.clone()), calls),
        &policy,
        Verdict::Deny,
        "other_target",
    );
    let restart = Operation::Restart {
        target: way_in.clone(),
    };
    check(
        &limited(restart, configured()),
        &policy,
        Verdict::Deny,
        "other_target",
    );
    let mut posing = limited(patch(way_in.clone()), configured());
    posing.solution = "my_limit".into();
    check(&posing, &policy, Verdict::Deny, "other_target");
    // The cooldown counts for the patched object.
    let mut again = limited(patch(way_in.clone()), configured());
    let past = |target: Target| PastOperation {
        target,
        solution: "rate_limit".into(),
        kind: "patch".into(),
        replicas: None,
        notice: None,
        asked_at: NOW - 1_000,
        took_effect: true,
    };
    again.past = vec![past(target())];
    check(&again, &policy, Verdict::Allow, "default");
    again.past.push(past(way_in));
    check(&again, &policy, Verdict::Deny, "cooldown");
}

#[test]
fn the_reason_why_no_rate_can_be_limited_names_what_to_configure() {
    let mut facts = facts(patch(target()));
    (facts.solution, facts.operation) = ("rate_limit".into(), None);
    let reason = judge(&facts, &Policy::default()).reason;
    assert!(
        reason.contains("[[rate_limit]]") && reason.contains("shop/Deployment/web"),
        "{reason}"
    );
}

#[test]
fn of_an_incident_that_nobody_knows_people_are_told_and_nothing_is_changed() {
    let about = |operation: Operation| {
        let mut facts = facts(operation);
        facts.incident.as_mut().unwrap().open = None;
        facts
    };
    let policy = Policy::default();
    let hook = HttpRequest {
        method: "POST".into(),
        url: "http://hook/".into(),
        headers: vec![],
        body: None,
    };
    check(
        &about(Operation::Http(hook)),
        &policy,
        Verdict::Deny,
        "incident_unknown",
    );
    let notice = Notice {
        channel: "default".into(),
        title: "t".into(),
        text: String::new(),
    };
    check(
        &about(Operation::Notify(notice)),
        &policy,
        Verdict::Allow,
        "default",
    );
    check(
        &about(Operation::Inspect { target: target() }),
        &policy,
        Verdict::Allow,
        "read",
    );
}

#[test]
fn the_same_news_is_told_once_in_the_cooldown_and_other_news_at_once() {
    let mut facts = facts(Operation::Notify(Notice {
        channel: "default".into(),
        title: "errors".into(),
        text: String::new(),
    }));
    facts.solution = "alarm".into();
    let told = |title: &str| PastOperation {
        target: target(),
        solution: "alarm".into(),
        kind: "notify".into(),
        replicas: None,
        notice: Some(title.into()),
        asked_at: NOW - 1_000,
        took_effect: true,
    };
    facts.past = vec![told("latency")];
    check(&facts, &Policy::default(), Verdict::Allow, "default");
    facts.past.push(told("errors"));
    check(&facts, &Policy::default(), Verdict::Deny, "cooldown");
}

#[test]
fn while_the_kill_switch_is_on_people_are_told_and_nothing_is_changed_whoever_asks() {
    let stopped = |operation: Operation, source: Source| Facts {
        stopped: Some("the network is being rebuilt (by ada)".into()),
        source,
        ..facts(operation)
    };
    let policy = Policy::default();
    for source in [Source::Engine, Source::Person] {
        let facts = stopped(scale(4), source);
        check(&facts, &policy, Verdict::Deny, "kill_switch");
        assert!(judge(&facts, &policy).reason.contains("rebuilt (by ada)"));
        check(
            &Facts {
                operation: None,
                ..facts
            },
            &policy,
            Verdict::Deny,
            "kill_switch",
        );
    }
    let hook = HttpRequest {
        method: "POST".into(),
        url: "http://hook/".into(),
        headers: vec![],
        body: None,
    };
    check(
        &stopped(Operation::Http(hook), Source::Engine),
        &policy,
        Verdict::Deny,
        "kill_switch",
    );
    check(
        &stopped(Operation::Inspect { target: target() }, Source::Engine),
        &policy,
        Verdict::Allow,
        "read",
    );
    let notice = Notice {
        channel: "default".into(),
        title: "t".into(),
        text: String::new(),
    };
    check(
        &stopped(Operation::Notify(notice), Source::Engine),
        &policy,
        Verdict::Allow,
        "default",
    );
}

#[test]
fn a_persons_yes_lifts_what_holds_and_nothing_else_and_only_while_it_counts() {
    let yes = |facts: Facts| Facts {
        approved: Some(Approved {
            by: "anna".into(),
            expires_at: NOW,
        }),
        ..facts
    };
    let approve = Policy {
        mode: Mode::Approve,
        ..Policy::default()
    };
    check(&yes(facts(scale(4))), &approve, Verdict::Allow, "default");
    check(
        &Facts {
            now: NOW + 1,
            ..yes(facts(scale(4)))
        },
        &approve,
        Verdict::Hold,
        "mode",
    );
    check(
        &yes(facts(scale(4))),
        &Policy {
            mode: Mode::Shadow,
            ..Policy::default()
        },
        Verdict::Shadow,
        "mode",
    );
    check(
        &yes(facts(scale(11))),
        &approve,
        Verdict::Deny,
        "replica_bounds",
    );
    check(
        &yes(Facts {
            stopped: Some(String::new()),
            ..facts(scale(4))
        }),
        &approve,
        Verdict::Deny,
        "kill_switch",
    );
    let spent = Spent {
        on_target: 99,
        in_namespace: 99,
        in_cluster: 99,
    };
    check(
        &yes(Facts {
            spent,
            ..facts(scale(4))
        }),
        &approve,
        Verdict::Deny,
        "budget",
    );
    // A solution from another program is held for approval without regard to missing data, and is
    // performed once approved.
    let foreign = Facts {
        source: Source::Foreign,
        incident: None,
        ..facts(Operation::Restart { target: target() })
    };
    check(&foreign, &Policy::default(), Verdict::Hold, "foreign");
    check(
        &yes(foreign.clone()),
        &Policy::default(),
        Verdict::Allow,
        "default",
    );
    let denied = Policy {
        foreign: Foreign::Deny,
        ..Policy::default()
    };
    check(&yes(foreign), &denied, Verdict::Deny, "foreign");
    let notice = Notice {
        channel: "default".into(),
        title: "t".into(),
        text: String::new(),
    };
    check(
        &facts(Operation::Notify(notice)),
        &approve,
        Verdict::Allow,
        "default",
    );
}

#[test]
fn the_least_mode_that_applies_counts() {
    let modes = |mode, namespace: &str, solution: Option<&str>| Policy {
        modes: vec![ModeFor {
            targets: Selector {
                namespace: Some(namespace.into()),
                ..Selector::default()
            },
            solution: solution.map(str::to_owned),
            mode,
        }],
        ..Policy::default()
    };
    check(
        &facts(scale(4)),
        &modes(Mode::Approve, "sh*", None),
        Verdict::Hold,
        "mode",
    );
    check(
        &facts(scale(4)),
        &modes(Mode::Shadow, "shop", Some("scale-up")),
        Verdict::Shadow,
        "mode",
    );
    check(
        &facts(scale(4)),
        &modes(Mode::Shadow, "shop", Some("scale_down")),
        Verdict::Allow,
        "default",
    );
    check(
        &facts(scale(4)),
        &modes(Mode::Shadow, "pay", None),
        Verdict::Allow,
        "default",
    );
    let approve = Policy {
        mode: Mode::Approve,
        ..modes(Mode::Auto, "shop", None)
    };
    check(&facts(scale(4)), &approve, Verdict::Hold, "mode");
}

#[test]
fn while_work_is_planned_nothing_is_done_by_itself_and_nobody_is_woken() {
    let policy = Policy {
        maintenance: vec![Maintenance {
            schedule: "* * * * *".into(),
            timezone: "UTC".into(),
            duration: std::time::Duration::from_secs(3600),
            targets: Selector {
                namespace: Some("shop".into()),
                ..Selector::default()
            },
            why: Some("the database moves".into()),
        }],
        ..Policy::default()
    };
    check(&facts(scale(4)), &policy, Verdict::Deny, "maintenance");
    assert!(
        judge(&facts(scale(4)), &policy)
            .reason
            .contains("the database moves")
    );
    let notice = Notice {
        channel: "default".into(),
        title: "t".into(),
        text: String::new(),
    };
    check(
        &facts(Operation::Notify(notice)),
        &policy,
        Verdict::Deny,
        "maintenance",
    );
    check(
        &facts(Operation::Inspect { target: target() }),
        &policy,
        Verdict::Allow,
        "read",
    );
    check(
        &Facts {
            source: Source::Person,
            ..facts(scale(4))
        },
        &policy,
        Verdict::Allow,
        "default",
    );
    let elsewhere = Target::new("pay", "Deployment", "web");
    let mut other = facts(Operation::Scale {
        target: elsewhere.clone(),
        replicas: 4,
    });
    other.target = Some(elsewhere);
    check(&other, &policy, Verdict::Allow, "default");
}

#[test]
fn a_silenced_target_is_left_alone_and_nobody_is_told_unless_a_person_asks() {
    let silenced = |operation| Facts {
        silenced: Some("a test (by anna)".into()),
        ..facts(operation)
    };
    check(
        &silenced(scale(4)),
        &Policy::default(),
        Verdict::Deny,
        "silence",
    );
    assert!(
        judge(&silenced(scale(4)), &Policy::default())
            .reason
            .contains("a test (by anna)")
    );
    let notice = Notice {
        channel: "default".into(),
        title: "t".into(),
        text: String::new(),
    };
    check(
        &silenced(Operation::Notify(notice)),
        &Policy::default(),
        Verdict::Deny,
        "silence",
    );
    check(
        &Facts {
            source: Source::Person,
            ..silenced(scale(4))
        },
        &Policy::default(),
        Verdict::Allow,
        "default",
    );
}

#[test]
fn what_is_taken_away_leaves_enough_that_are_ready_and_is_not_too_much_at_once() {
    let of = |desired, ready, to| {
        let mut facts = facts(scale(to));
        facts.snapshot.as_mut().unwrap().replicas = Some(Replicas { desired, ready });
        facts
    };
    let policy = Policy::default();
    check(&of(4, 4, 2), &policy, Verdict::Allow, "default");
    check(&of(4, 2, 2), &policy, Verdict::Deny, "healthy_floor");
    check(&of(4, 4, 1), &policy, Verdict::Deny, "healthy_floor");
    check(&of(4, 0, 8), &policy, Verdict::Allow, "default");
    check(
        &Facts {
            takes_back: true,
            ..of(8, 8, 2)
        },
        &policy,
        Verdict::Allow,
        "default",
    );
    check(
        &Facts {
            takes_back: true,
            ..of(8, 6, 2)
        },
        &policy,
        Verdict::Deny,
        "healthy_floor",
    );
    check(
        &Facts {
            source: Source::Person,
            ..of(4, 0, 1)
        },
        &policy,
        Verdict::Allow,
        "default",
    );
}

#[test]
fn in_a_storm_a_person_is_asked_before_anything_is_changed() {
    let storm = Facts {
        open_incidents: 21,
        ..facts(scale(4))
    };
    check(&storm, &Policy::default(), Verdict::Hold, "storm");
    check(
        &Facts {
            open_incidents: 20,
            ..facts(scale(4))
        },
        &Policy::default(),
        Verdict::Allow,
        "default",
    );
    let yes = Facts {
        approved: Some(Approved {
            by: "anna".into(),
            expires_at: NOW,
        }),
        ..storm.clone()
    };
    check(&yes, &Policy::default(), Verdict::Allow, "default");
    check(
        &Facts {
            source: Source::Person,
            ..storm.clone()
        },
        &Policy::default(),
        Verdict::Allow,
        "default",
    );
    // An operation that would be denied anyway is not held for approval.
    check(
        &Facts {
            now: storm.expires_at + 1,
            ..storm
        },
        &Policy::default(),
        Verdict::Deny,
        "expired",
    );
}

#[test]
fn what_takes_back_may_come_late_and_after_the_incident_but_not_without_data() {
    let mut late = Facts {
        now: NOW + 3_600_000,
        ..facts(scale(1))
    };
    late.incident = Some(IncidentFacts {
        open: Some(false),
        coverage: Coverage {
            asked: 1,
            answered: 1,
            failed: 0,
        },
        as_of: Some(late.now),
        ..IncidentFacts::default()
    });
    check(&late, &Policy::default(), Verdict::Deny, "expired");
    late.take_back();
    check(&late, &Policy::default(), Verdict::Allow, "default");
    late.incident.as_mut().unwrap().as_of = Some(NOW);
    check(&late, &Policy::default(), Verdict::Deny, "missing_data");
}

#[test]
fn each_budget_holds_what_the_host_does_by_itself_and_no_person() {
    let policy = Policy {
        most_on_target: 3,
        most_in_namespace: 5,
        most_in_cluster: 7,
        ..Policy::default()
    };
    let spent = |on_target, in_namespace, in_cluster| Facts {
        spent: Spent {
            on_target,
            in_namespace,
            in_cluster,
        },
        ..facts(scale(4))
    };
    check(&spent(2, 4, 6), &policy, Verdict::Allow, "default");
    for (used_up, of) in [
        (spent(3, 3, 3), "default/shop/Deployment/web"),
        (spent(0, 5, 5), "namespace \"shop\""),
        (spent(0, 0, 7), "cluster \"default\""),
    ] {
        check(&used_up, &policy, Verdict::Deny, "budget");
        assert!(
            judge(&used_up, &policy).reason.contains(of),
            "{}",
            judge(&used_up, &policy).reason
        );
        check(
            &Facts {
                source: Source::Person,
                ..used_up
            },
            &policy,
            Verdict::Allow,
            "default",
        );
    }
    // A target's own budget replaces the general one. If several budgets match, the first one
    // counts.
    let named = |name: &str, most_on_target| {
        let targets = Selector {
            name: Some(name.into()),
            ..Selector::default()
        };
        BudgetFor {
            targets,
            most_on_target,
        }
    };
    let own = |budgets| Policy {
        budgets,
        ..policy.clone()
    };
    check(
        &spent(1, 1, 1),
        &own(vec![named("pay*", 0), named("web", 1), named("*", 4)]),
        Verdict::Deny,
        "budget",
    );
    check(
        &spent(3, 3, 3),
        &own(vec![named("web", 4), named("*", 1)]),
        Verdict::Allow,
        "default",
    );
    check(
        &spent(4, 5, 5),
        &own(vec![named("web", 9)]),
        Verdict::Deny,
        "budget",
    );
}

proptest! {
    #[test]
    fn an_operation_of_the_future_changes_no_verdict(
        past in proptest::collection::vec((0_i64..7_200_000, 1_u32..9), 0..5),
        future in proptest::collection::vec((1_i64..400_000_000_000, 1_u32..9), 1..5),
        replicas in 1_u32..9, restart: bool, person: bool,
    ) {
        let operation = |at: i64, replicas: u32| PastOperation {
            target: target(),
            solution: "scale_up".into(),
            kind: "scale".into(),
            replicas: Some(replicas),
            notice: None,
            asked_at: at,
            took_effect: true,
        };
        let mut facts = facts(match restart {
            true => Operation::Restart { target: target() },
            false => scale(replicas),
        });
        facts.source = if person { Source::Person } else { Source::Engine };
        facts.past = past.into_iter().map(|(age, n)| operation(NOW - age, n)).collect();
        let without = judge(&facts, &Policy::default());
        facts.past.extend(future.into_iter().map(|(ahead, n)| operation(NOW + ahead, n)));
        prop_assert_eq!(judge(&facts, &Policy::default()), without);
    }
}

#[test]
fn while_the_record_is_not_what_was_recorded_people_are_told_and_nothing_else_is_done() {
    let altered = |operation| Facts {
        record_mismatch: Some("the table decisions differs".into()),
        ..facts(operation)
    };
    let policy = Policy::default();
    check(&altered(scale(4)), &policy, Verdict::Deny, "record");
    let person = Facts {
        source: Source::Person,
        ..altered(scale(4))
    };
    check(&person, &policy, Verdict::Deny, "record");
    let look = Operation::Inspect { target: target() };
    check(&altered(look), &policy, Verdict::Allow, "read");
    let alarm = Operation::Notify(Notice {
        channel: "default".into(),
        title: "t".into(),
        text: "t".into(),
    });
    check(&altered(alarm), &policy, Verdict::Allow, "default");
}

#[test]
fn scaling_that_turns_again_and_again_ends() {
    let scaled = |past: &[u32], replicas: u32| Facts {
        past: past
            .iter()
            .zip(1..)
            .map(|(replicas, minutes)| PastOperation {
                target: target(),
                solution: format!("solution-{minutes}"),
                kind: "scale".into(),
                replicas: Some(*replicas),
                notice: None,
                asked_at: NOW - 3_000_000 + minutes * 60_000,
                took_effect: true,
            })
            .collect(),
        ..facts(scale(replicas))
    };
    let policy = Policy::default();
    check(
        &scaled(&[3, 4, 5, 6], 7),
        &policy,
        Verdict::Allow,
        "default",
    );
    check(&scaled(&[3, 2, 3], 2), &policy, Verdict::Allow, "default");
    check(
        &scaled(&[3, 2, 3, 2], 3),
        &policy,
        Verdict::Deny,
        "oscillation",
    );
    let mut long_ago = scaled(&[3, 2, 3, 2], 3);
    long_ago
        .past
        .iter_mut()
        .for_each(|past| past.asked_at -= 3_600_000);
    check(&long_ago, &policy, Verdict::Allow, "default");
    check(
        &Facts {
            source: Source::Person,
            ..scaled(&[3, 2, 3, 2], 3)
        },
        &policy,
        Verdict::Allow,
        "default",
    );
}

proptest! {
    #[test]
    fn missing_or_stale_data_never_leads_to_a_restart_or_fewer_replicas(
        asked in 0u32..4, answered in 0u32..4, age in proptest::option::of(0i64..400_000), replicas in 0u32..12,
        restart: bool, desired in proptest::option::of(0u32..12),
    ) {
        let operation = if restart { Operation::Restart { target: target() } } else { scale(replicas) };
        let mut facts = facts(operation);
        facts.incident = Some(IncidentFacts {
            open: Some(true),
            coverage: Coverage { asked, answered, failed: 0 },
            as_of: age.map(|age| NOW - age),
            ..IncidentFacts::default()
        });
        facts.snapshot.as_mut().unwrap().replicas = desired.map(|desired| Replicas { desired, ready: desired });
        let missing = asked == 0 || answered != asked || age.is_none_or(|age| age > 120_000);
        let drastic = restart || desired.is_none_or(|desired| replicas < desired);
        let verdict = judge(&facts, &Policy::default()).verdict;
        prop_assert!(!(missing && drastic && verdict == Verdict::Allow));
    }

    #[test]
    fn nothing_is_changed_beyond_a_budget_or_while_the_kill_switch_is_on(
        on_target in 0u32..9, in_namespace in 0u32..30, in_cluster in 0u32..70, stopped: bool, restart: bool,
    ) {
        let operation = if restart { Operation::Restart { target: target() } } else { scale(4) };
        let facts = Facts {
            stopped: stopped.then(String::new),
            spent: Spent { on_target, in_namespace, in_cluster },
            ..facts(operation)
        };
        let policy = Policy::default();
        if judge(&facts, &policy).verdict == Verdict::Allow {
            prop_assert!(!stopped && on_target < policy.most_on_target);
            prop_assert!(in_namespace < policy.most_in_namespace && in_cluster < policy.most_in_cluster);
        }
    }

    #[test]
    fn nothing_that_the_host_does_by_itself_breaks_the_floor(
        desired in 0u32..12, down in 0u32..12, to in 0u32..12, floor in 0u32..5, takes_back: bool,
    ) {
        let ready = desired.saturating_sub(down);
        let mut facts = Facts { takes_back, ..facts(scale(to)) };
        facts.snapshot.as_mut().unwrap().replicas = Some(Replicas { desired, ready });
        let policy = Policy { min_ready: floor, ..Policy::default() };
        if judge(&facts, &policy).verdict == Verdict::Allow && to < desired {
            prop_assert!(ready.saturating_sub(desired - to) >= floor);
        }
    }

    #[test]
    fn no_scale_that_is_allowed_leaves_the_bounds(replicas: u32, min in 0u32..5, span in 0u32..10) {
        let policy = Policy { min_replicas: min, max_replicas: min + span, ..Policy::default() };
        if judge(&facts(scale(replicas)), &policy).verdict == Verdict::Allow {
            prop_assert!((min..=min + span).contains(&replicas));
        }
    }
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
    let restart = || Operation::Restart { target: target() };
    let roll_back = || Operation::RollBack { target: target() };
    let patch = |patch: Value| {
        Operation::Patch(MergePatch {
            target: target(),
            patch,
        })
    };
    let template = patch(serde_json::json!({"spec": {"template": {"spec": {}}}}));
    for operation in [restart(), roll_back(), template] {
        let denied = echoing(operation.clone(), NOW + 1);
        check(&denied, &policy, Verdict::Deny, "echo");
        assert!(is_not_now(&denied, &policy));
        check(&echoing(operation, NOW), &policy, Verdict::Allow, "default");
    }
    for operation in [
        scale(4),
        patch(serde_json::json!({"spec": {"minReadySeconds": 1}})),
    ] {
        check(
            &echoing(operation, NOW + 1),
            &policy,
            Verdict::Allow,
            "default",
        );
    }
    let person = Facts {
        source: Source::Person,
        ..echoing(restart(), NOW + 1)
    };
    check(&person, &policy, Verdict::Allow, "default");
    let mut taken_back = echoing(roll_back(), NOW + 1);
    taken_back.take_back();
    check(&taken_back, &policy, Verdict::Allow, "default");
}

#[test]
fn what_another_controller_put_back_is_not_repeated_unless_a_person_wants_it() {
    let policy = Policy::default();
    let mut reverted = facts(scale(4));
    reverted.target_facts.reverted_by = Some("argocd-controller".into());
    check(&reverted, &policy, Verdict::Deny, "reverted");
    assert!(
        judge(&reverted, &policy)
            .reason
            .contains("argocd-controller")
    );
    reverted.source = Source::Person;
    check(&reverted, &policy, Verdict::Allow, "default");
}

#[test]
fn facts_without_further_knowledge_are_recorded_as_before() {
    let recorded = serde_json::to_value(facts(scale(4))).unwrap();
    assert!(recorded.get("target_facts").is_none());
    let read: Facts = serde_json::from_value(recorded).unwrap();
    assert_eq!(read, facts(scale(4)));
}
