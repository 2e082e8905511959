//! Tests of maintenance windows and silences.

use super::*;

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
    check(&facts(scale(4)), &policy, Deny, "maintenance");
    assert!(
        judge(&facts(scale(4)), &policy)
            .reason
            .contains("the database moves")
    );
    check(&facts(notify("t")), &policy, Deny, "maintenance");
    check(
        &facts(Operation::Inspect { target: web() }),
        &policy,
        Allow,
        "read",
    );
    check(&by_person(facts(scale(4))), &policy, Allow, "default");
    let elsewhere = Target::new("pay", "Deployment", "web");
    let mut other = facts(testing::scale(elsewhere.clone(), 4));
    other.target = Some(elsewhere);
    check(&other, &policy, Allow, "default");
}

#[test]
fn a_silenced_target_is_left_alone_and_nobody_is_told_unless_a_person_asks() {
    let silenced = |operation| Facts {
        silenced: Some("a test (by anna)".into()),
        ..facts(operation)
    };
    check(&silenced(scale(4)), &Policy::default(), Deny, "silence");
    assert!(
        judge(&silenced(scale(4)), &Policy::default())
            .reason
            .contains("a test (by anna)")
    );
    check(&silenced(notify("t")), &Policy::default(), Deny, "silence");
    check(
        &by_person(silenced(scale(4))),
        &Policy::default(),
        Allow,
        "default",
    );
}
