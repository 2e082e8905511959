//! What may be done. One pure function over recorded input: an ordered list of rules, the first refusal wins, and its name
//! stands in the decision. No I/O, no clock: replaying the facts gives the same verdict.

mod facts;
mod policy;
mod rules;
mod selector;
mod window;

pub use facts::{Approved, Facts, IncidentFacts, PastOperation, RateLimitFacts, Source, Spent};
pub use policy::{Foreign, HOUR, Mode, ModeFor, Policy};
pub use selector::Selector;
pub use window::Maintenance;

use crate::domain::{GuardVerdict, Verdict};

/// Asks every rule in order; the first that has something to say decides. Asked before every operation, and again at the
/// moment of acting, with facts of that moment.
pub fn judge(facts: &Facts, policy: &Policy) -> GuardVerdict {
    for (name, rule) in rules::ORDERED {
        if let Some((verdict, reason)) = rule(facts, policy) {
            return GuardVerdict { verdict, rule: (*name).to_owned(), reason };
        }
    }
    GuardVerdict { verdict: Verdict::Allow, rule: "default".into(), reason: "no rule objects".into() }
}

#[cfg(test)]
mod tests;
