//! Verdict of the guard: asks the rules in their order.

use super::{Facts, Policy, rules};
use anomalyzer_domain::{GuardVerdict, Verdict};

/// Asks the rules in order. The first rule that gives a verdict decides, with one exception: after
/// a configured rule that allows, the limits of autonomy are still asked. The guard judges a
/// solution before its action runs, and each operation at the moment of acting, with the facts of
/// that moment.
pub fn judge(facts: &Facts, policy: &Policy) -> GuardVerdict {
    let ask = |rules: &[(&str, rules::Rule)]| {
        rules.iter().find_map(|(name, rule)| {
            let (verdict, reason) = rule(facts, policy)?;
            Some(GuardVerdict {
                verdict,
                rule: (*name).to_owned(),
                reason,
            })
        })
    };
    if let Some(verdict) = ask(rules::BOUNDS) {
        return verdict;
    }
    let configured = rules::configured(facts, policy).map(|(verdict, rule, reason)| GuardVerdict {
        verdict,
        rule,
        reason,
    });
    if let Some(refused) = configured.clone().filter(|it| it.verdict != Verdict::Allow) {
        return refused;
    }
    let none = || GuardVerdict {
        verdict: Verdict::Allow,
        rule: "default".into(),
        reason: "no rule objects".into(),
    };
    ask(rules::AUTONOMY_LIMITS)
        .or(configured)
        .unwrap_or_else(none)
}
