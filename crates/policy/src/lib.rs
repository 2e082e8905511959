//! Decides which operations are allowed. The guard is one pure function over recorded facts. It
//! asks an ordered list of rules: built-in rules, the rules of the configuration, and the built-in
//! limits of autonomy. The first rule that decides wins, and its name is stored in the decision.
//! The guard does no I/O and reads no clock, so replaying the facts gives the same verdict.

mod cel;
mod cel_context;
mod clock_skew;
mod custom_rule;
mod default_operation;
mod effect;
mod facts;
pub mod grants;
mod judge;
mod maintenance;
mod policy;
mod policy_case;
mod rules;
mod selector;
mod time_zone;

pub use cel::Expression;
pub use clock_skew::ClockSkew;
pub use custom_rule::PolicyRule;
pub use default_operation::usual;
pub use effect::Effect;
pub use facts::{
    Approved, DiagnosisFacts, Facts, IncidentFacts, PastOperation, RateLimitFacts, Source, Spent,
    TargetFacts,
};
pub use judge::judge;
pub use maintenance::Maintenance;
pub use policy::{BudgetFor, Foreign, HOUR, ModeFor, Policy};
pub use policy_case::Case;
pub use rules::{TEMPORARY_RULES, is_temporary};
pub use selector::Selector;
pub use time_zone::time_zone_database_version;

#[cfg(test)]
mod sequence;
#[cfg(test)]
mod tests;
