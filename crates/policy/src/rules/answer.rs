//! The answer of a rule.

use anomalyzer_domain::Verdict;

use crate::{Facts, Policy};

/// Verdict of a rule with its reason, or None if the rule does not decide.
pub(super) type Answer = Option<(Verdict, String)>;

/// A built-in rule.
pub(crate) type Rule = fn(&Facts, &Policy) -> Answer;

pub(super) fn deny(reason: impl Into<String>) -> Answer {
    Some((Verdict::Deny, reason.into()))
}
