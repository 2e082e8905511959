//! The rules of the configuration.

use anomalyzer_domain::Verdict;

use crate::custom_rule::decide;
use crate::{Facts, Policy};

/// Asks the configured rules (`[[guard.policy]]`). Returns the verdict, the rule's name and the
/// reason. Read-only operations never get here, because the rule `read` has allowed them. A
/// person's approval of exactly this operation turns a hold into an allow.
pub(crate) fn configured(facts: &Facts, policy: &Policy) -> Option<(Verdict, String, String)> {
    facts.operation.as_ref()?;
    let (verdict, rule, reason) = decide(&policy.policy, facts)?;
    match &facts.approved {
        Some(approved) if verdict == Verdict::Hold && facts.now <= approved.expires_at => Some((
            Verdict::Allow,
            rule,
            format!("{} said yes: {reason}", approved.by),
        )),
        _ => Some((verdict, rule, reason)),
    }
}
