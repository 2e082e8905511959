//! Tests of the rules that ask a person.

use super::*;

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
    check(&yes(facts(scale(4))), &approve, Allow, "default");
    check(
        &Facts {
            now: NOW + 1,
            ..yes(facts(scale(4)))
        },
        &approve,
        Hold,
        "mode",
    );
    check(
        &yes(facts(scale(4))),
        &Policy {
            mode: Mode::Shadow,
            ..Policy::default()
        },
        Shadow,
        "mode",
    );
    check(&yes(facts(scale(11))), &approve, Deny, "replica_bounds");
    check(
        &yes(Facts {
            stopped: Some(String::new()),
            ..facts(scale(4))
        }),
        &approve,
        Deny,
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
        Deny,
        "budget",
    );
    // A solution from another program is held for approval without regard to missing data, and is
    // performed once approved.
    let foreign = Facts {
        source: Source::Foreign,
        incident: None,
        ..facts(Operation::Restart { target: web() })
    };
    check(&foreign, &Policy::default(), Hold, "foreign");
    check(&yes(foreign.clone()), &Policy::default(), Allow, "default");
    let denied = Policy {
        foreign: Foreign::Deny,
        ..Policy::default()
    };
    check(&yes(foreign), &denied, Deny, "foreign");
    check(&facts(notify("t")), &approve, Allow, "default");
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
        Hold,
        "mode",
    );
    check(
        &facts(scale(4)),
        &modes(Mode::Shadow, "shop", Some("scale-up")),
        Shadow,
        "mode",
    );
    check(
        &facts(scale(4)),
        &modes(Mode::Shadow, "shop", Some("scale_down")),
        Allow,
        "default",
    );
    check(
        &facts(scale(4)),
        &modes(Mode::Shadow, "pay", None),
        Allow,
        "default",
    );
    let approve = Policy {
        mode: Mode::Approve,
        ..modes(Mode::Auto, "shop", None)
    };
    check(&facts(scale(4)), &approve, Hold, "mode");
}

#[test]
fn in_a_storm_a_person_is_asked_before_anything_is_changed() {
    let storm = Facts {
        open_incidents: 21,
        ..facts(scale(4))
    };
    check(&storm, &Policy::default(), Hold, "storm");
    check(
        &Facts {
            open_incidents: 20,
            ..facts(scale(4))
        },
        &Policy::default(),
        Allow,
        "default",
    );
    let yes = Facts {
        approved: Some(Approved {
            by: "anna".into(),
            expires_at: NOW,
        }),
        ..storm.clone()
    };
    check(&yes, &Policy::default(), Allow, "default");
    check(
        &by_person(storm.clone()),
        &Policy::default(),
        Allow,
        "default",
    );
    // An operation that would be denied anyway is not held for approval.
    check(
        &Facts {
            now: storm.expires_at + 1,
            ..storm
        },
        &Policy::default(),
        Deny,
        "expired",
    );
}
