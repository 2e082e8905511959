//! Tests of the budgets.

use super::*;

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
    check(&spent(2, 4, 6), &policy, Allow, "default");
    for (used_up, of) in [
        (spent(3, 3, 3), "default/shop/Deployment/web"),
        (spent(0, 5, 5), "namespace \"shop\""),
        (spent(0, 0, 7), "cluster \"default\""),
    ] {
        check(&used_up, &policy, Deny, "budget");
        assert!(
            judge(&used_up, &policy).reason.contains(of),
            "{}",
            judge(&used_up, &policy).reason
        );
        check(&by_person(used_up), &policy, Allow, "default");
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
        Deny,
        "budget",
    );
    check(
        &spent(3, 3, 3),
        &own(vec![named("web", 4), named("*", 1)]),
        Allow,
        "default",
    );
    check(&spent(4, 5, 5), &own(vec![named("web", 9)]), Deny, "budget");
}
