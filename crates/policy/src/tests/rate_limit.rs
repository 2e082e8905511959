//! Tests of the rules about rate limits.

use super::*;

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
        Allow,
        "default",
    );
    check(
        &limited(patch(way_in.clone()), None),
        &policy,
        Deny,
        "rate_limit",
    );
    let other = Target::new("shop", "Ingress", "pay");
    check(
        &limited(patch(other), configured()),
        &policy,
        Deny,
        "other_target",
    );
    let calls = Some(RateLimitFacts { patches: None });
    check(
        &limited(patch(way_in.clone()), calls),
        &policy,
        Deny,
        "other_target",
    );
    let restart = Operation::Restart {
        target: way_in.clone(),
    };
    check(
        &limited(restart, configured()),
        &policy,
        Deny,
        "other_target",
    );
    let mut posing = limited(patch(way_in.clone()), configured());
    posing.solution = "my_limit".into();
    check(&posing, &policy, Deny, "other_target");
    // The cooldown counts for the patched object.
    let mut again = limited(patch(way_in.clone()), configured());
    let past = |target: Target| PastOperation {
        target,
        solution: "rate_limit".into(),
        kind: "patch".into(),
        ..past_scaling(None, NOW - 1_000)
    };
    again.past = vec![past(web())];
    check(&again, &policy, Allow, "default");
    again.past.push(past(way_in));
    check(&again, &policy, Deny, "cooldown");
}

#[test]
fn the_reason_why_no_rate_can_be_limited_names_what_to_configure() {
    let mut facts = facts(patch(web()));
    (facts.solution, facts.operation) = ("rate_limit".into(), None);
    let reason = judge(&facts, &Policy::default()).reason;
    assert!(
        reason.contains("[[rate_limit]]") && reason.contains("shop/Deployment/web"),
        "{reason}"
    );
}
