//! Tests of the rules that let people be told while nothing may be changed.

use super::*;

#[test]
fn a_notice_goes_out_although_the_target_cannot_be_looked_at() {
    let mut facts = facts(notify("t"));
    facts.solution = "alarm".into();
    facts.snapshot = None;
    facts.incident.as_mut().unwrap().coverage = coverage(1, 0);
    check(&facts, &Policy::default(), Allow, "default");
}

#[test]
fn of_an_incident_that_nobody_knows_people_are_told_and_nothing_is_changed() {
    let about = |operation: Operation| {
        let mut facts = facts(operation);
        facts.incident.as_mut().unwrap().open = None;
        facts
    };
    let policy = Policy::default();
    check(&about(hook()), &policy, Deny, "incident_unknown");
    check(&about(notify("t")), &policy, Allow, "default");
    check(
        &about(Operation::Inspect { target: web() }),
        &policy,
        Allow,
        "read",
    );
}

#[test]
fn the_same_news_is_told_once_in_the_cooldown_and_other_news_at_once() {
    let mut facts = facts(notify("errors"));
    facts.solution = "alarm".into();
    let told = |title: &str| PastOperation {
        solution: "alarm".into(),
        kind: "notify".into(),
        notice: Some(title.into()),
        ..past_scaling(None, NOW - 1_000)
    };
    facts.past = vec![told("latency")];
    check(&facts, &Policy::default(), Allow, "default");
    facts.past.push(told("errors"));
    check(&facts, &Policy::default(), Deny, "cooldown");
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
        check(&facts, &policy, Deny, "kill_switch");
        assert!(judge(&facts, &policy).reason.contains("rebuilt (by ada)"));
        check(
            &Facts {
                operation: None,
                ..facts
            },
            &policy,
            Deny,
            "kill_switch",
        );
    }
    check(
        &stopped(hook(), Source::Engine),
        &policy,
        Deny,
        "kill_switch",
    );
    check(
        &stopped(Operation::Inspect { target: web() }, Source::Engine),
        &policy,
        Allow,
        "read",
    );
    check(
        &stopped(notify("t"), Source::Engine),
        &policy,
        Allow,
        "default",
    );
}

#[test]
fn while_the_record_is_not_what_was_recorded_people_are_told_and_nothing_else_is_done() {
    let altered = |operation| Facts {
        record_mismatch: Some("the table decisions differs".into()),
        ..facts(operation)
    };
    let policy = Policy::default();
    check(&altered(scale(4)), &policy, Deny, "record");
    let person = by_person(altered(scale(4)));
    check(&person, &policy, Deny, "record");
    let look = Operation::Inspect { target: web() };
    check(&altered(look), &policy, Allow, "read");
    check(&altered(notify("t")), &policy, Allow, "default");
}
