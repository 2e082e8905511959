//! Decides which operations are allowed. The guard is one pure function over recorded facts. It
//! asks an ordered list of rules, including the operator's own rules. The first rule that objects
//! wins, and its name is stored in the decision. The guard does no I/O and reads no clock, so
//! replaying the facts gives the same verdict.

mod cel;
mod cel_context;
mod custom_rule;
mod default_operation;
mod facts;
mod maintenance;
mod policy;
mod policy_case;
mod rules;
mod selector;
mod time_zone;

pub use cel::Expression;
pub use custom_rule::PolicyRule;
pub use default_operation::usual;
pub use facts::{
    Approved, DiagnosisFacts, Facts, IncidentFacts, PastOperation, RateLimitFacts, Source, Spent,
};
pub use maintenance::Maintenance;
pub use policy::{BudgetFor, Foreign, HOUR, ModeFor, Policy};
pub use policy_case::Case;
pub use selector::Selector;
pub use time_zone::time_zone_database_version;

use anomalyzer_domain::{GuardVerdict, Verdict};

/// Asks every rule in order. The first rule that gives a verdict decides. The guard is asked before
/// every operation, and again when the operation is carried out, with the facts of that moment.
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
    let own = rules::own(facts, policy).map(|(verdict, rule, reason)| GuardVerdict {
        verdict,
        rule,
        reason,
    });
    if let Some(refused) = own.clone().filter(|own| own.verdict != Verdict::Allow) {
        return refused;
    }
    let none = || GuardVerdict {
        verdict: Verdict::Allow,
        rule: "default".into(),
        reason: "no rule objects".into(),
    };
    ask(rules::FREEDOM).or(own).unwrap_or_else(none)
}

/// Rules that object only for a while. A decision that they deny is deferred and retried later.
pub const NOT_NOW: [&str; 3] = ["silence", "maintenance", "rollout_in_progress"];

/// Returns true if one of the rules in [`NOT_NOW`] objects, whatever the other rules return.
pub fn is_not_now(facts: &Facts, policy: &Policy) -> bool {
    rules::not_now(facts, policy)
}

#[cfg(test)]
mod sequence;
#[cfg(test)]
mod tests;
