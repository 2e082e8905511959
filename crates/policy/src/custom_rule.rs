//! The configured rules (`[[guard.policy]]`).

use serde::{Deserialize, Serialize};

use super::time_zone::time_zone;
use super::{Expression, Facts, cel_context::CelContext};
use anomalyzer_domain::{ConfigIssue, Verdict};

/// A configured rule: the verdict to give when a condition holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// Name of the rule. It is stored in the decision after the prefix `policy:`.
    pub name: String,
    /// The condition, in CEL.
    pub when: Expression,
    /// Verdict if the condition holds. `allow` skips the other configured rules, but not the
    /// built-in ones: bounds, budgets and modes still apply.
    pub verdict: Verdict,
    /// Reason for the verdict, for readers of the record.
    pub reason: String,
    /// Time zone of the variable `time`, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub timezone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl PolicyRule {
    /// Checks the settings of this rule.
    ///
    /// # Errors
    /// Returns an error if the rule has no name or no reason, or if the time zone is unknown.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        for (key, text) in [("name", &self.name), ("reason", &self.reason)] {
            if text.trim().is_empty() {
                return Err(ConfigIssue::at(
                    key,
                    "a rule needs a name and a reason: they stand in each decision that it decides",
                ));
            }
        }
        time_zone(&self.timezone)
            .map(drop)
            .map_err(|message| ConfigIssue::at("timezone", message))
    }
}

/// Returns the verdict, name and reason of the first rule whose condition holds. A condition that
/// can't be evaluated is a denial.
pub(super) fn decide(rules: &[PolicyRule], facts: &Facts) -> Option<(Verdict, String, String)> {
    rules.iter().find_map(|rule| {
        let name = format!("policy:{}", rule.name);
        let held =
            CelContext::new(facts, &rule.timezone).and_then(|context| rule.when.holds(&context));
        match held {
            Ok(true) => Some((rule.verdict, name, rule.reason.clone())),
            Ok(false) => None,
            Err(error) => Some((
                Verdict::Deny,
                name,
                format!("whether {:?} holds can't be told: {error}", rule.when),
            )),
        }
    })
}
