//! The operator's own rules.

use serde::{Deserialize, Serialize};

use super::{Expression, Facts, seen::Seen};
use crate::domain::{ConfigIssue, Verdict};

/// One rule of the operator: what is to be said when a condition holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// Stands in the decision, after `policy:`.
    pub name: String,
    /// The condition, in CEL.
    pub when: Expression,
    /// What is said then. `allow` ends the operator's rules, not the host's: bounds, budgets and
    /// modes still count.
    pub verdict: Verdict,
    /// Why, for whoever reads the record.
    pub reason: String,
    /// By whose clock `time` is, as `Europe/Berlin`.
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
        match jiff::tz::TimeZone::get(&self.timezone) {
            Ok(_) => Ok(()),
            Err(_) => Err(ConfigIssue::at(
                "timezone",
                format!(
                    "there is no time zone `{}`: write for example \"Europe/Berlin\"",
                    self.timezone
                ),
            )),
        }
    }
}

/// What the first of the rules says whose condition holds, under its name. What can't be told is
/// refused.
pub(super) fn decide(rules: &[PolicyRule], facts: &Facts) -> Option<(Verdict, String, String)> {
    rules.iter().find_map(|rule| {
        let name = format!("policy:{}", rule.name);
        match rule.when.holds(&Seen::new(facts, &rule.timezone)) {
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
