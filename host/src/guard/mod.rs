//! What may be done. One pure function over recorded input: an ordered list of rules, the
//! operator's own among them; the first refusal wins, and its name stands in the decision. No I/O,
//! no clock: replaying the facts gives the same verdict.

mod case;
mod expression;
mod facts;
mod own;
mod policy;
mod rules;
mod seen;
mod selector;
mod usual;
mod window;

pub use case::Case;
pub use expression::Expression;
pub use facts::{
    Approved, DiagnosisFacts, Facts, IncidentFacts, PastOperation, RateLimitFacts, Source, Spent,
};
pub use own::PolicyRule;
pub use policy::{BudgetFor, Foreign, HOUR, Mode, ModeFor, Policy};
pub use selector::Selector;
pub use usual::usual;
pub use window::Maintenance;

use crate::domain::{GuardVerdict, Verdict};

/// Asks every rule in order; the first that has something to say decides. Asked before every
/// operation, and again at the moment of acting, with facts of that moment.
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

/// The rules that object for a while only: what they deny is to be thought about again afterwards.
pub const NOT_NOW: [&str; 3] = ["silence", "maintenance", "rollout_in_progress"];

/// Whether one of [`NOT_NOW`] objects, whatever other rules say.
pub fn is_not_now(facts: &Facts, policy: &Policy) -> bool {
    rules::not_now(facts, policy)
}

#[cfg(test)]
mod sequence;
#[cfg(test)]
mod tests;
