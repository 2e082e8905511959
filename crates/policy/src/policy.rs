//! The configured policy (`[guard]`): the limits within which the service acts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Maintenance, PolicyRule, Selector};
use anomalyzer_domain::{ConfigIssue, Mode, Target, duration};

/// Handling of a solution that another program wrote to the topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Foreign {
    /// Refuse the solution. Otherwise anyone who can write to the topic could command the cluster.
    Deny,
    /// Hold the solution for a person's approval.
    #[default]
    Hold,
    /// Treat the solution like our own.
    Allow,
}

/// Mode for some targets or some solutions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeFor {
    /// Targets that the mode applies to. Defaults to all targets.
    #[serde(default)]
    pub targets: Selector,
    /// Solution that the mode applies to, such as `restart_service`. Defaults to all solutions.
    #[serde(default)]
    pub solution: Option<String>,
    /// The mode. If several modes apply, the strictest one counts.
    pub mode: Mode,
}

/// Budget of changes for some targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetFor {
    /// Targets that the budget applies to. Defaults to all targets.
    #[serde(default)]
    pub targets: Selector,
    /// Maximum number of operations per hour that change one of these targets.
    pub most_on_target: u32,
}

/// Window over which budgets and reversals are counted.
pub const HOUR: Duration = Duration::from_secs(3600);

/// The limits within which the service acts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Mode of the host.
    pub mode: Mode,
    /// Modes for some targets or some solutions.
    pub modes: Vec<ModeFor>,
    /// The configured rules. The first rule whose condition holds counts.
    pub policy: Vec<PolicyRule>,
    /// Planned maintenance, during which the host does nothing by itself.
    pub maintenance: Vec<Maintenance>,
    /// Number of open incidents above which there is a storm. The cause of a storm lies in none of
    /// the single targets, so a person is asked.
    pub storm_above: u32,
    /// Time that a person has for an approval. No answer counts as a refusal.
    #[serde(with = "duration")]
    pub approve_within: Duration,
    /// Minimum time between two runs of the same solution on the same target.
    #[serde(with = "duration")]
    pub cooldown: Duration,
    /// Maximum number of operations per hour that change one target.
    pub most_on_target: u32,
    /// Budgets for some targets. The first one that applies replaces `most_on_target`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetFor>,
    /// Maximum number of operations per hour that change targets of one namespace.
    pub most_in_namespace: u32,
    /// Maximum number of operations per hour that change targets of one cluster.
    pub most_in_cluster: u32,
    /// Maximum number of times per hour that the scaling of a target may reverse its direction.
    pub most_reversals: u32,
    /// Minimum number of replicas to scale to.
    pub min_replicas: u32,
    /// Minimum number of ready replicas that must be left when replicas are removed.
    pub min_ready: u32,
    /// Maximum share of the replicas that may be removed at once, from 0 to 1.
    pub most_share: f64,
    /// Maximum number of replicas to scale to.
    pub max_replicas: u32,
    /// Age above which a sample counts as missing.
    #[serde(with = "duration")]
    pub max_sample_age: Duration,
    /// Handling of solutions that other programs wrote to the topic.
    pub foreign: Foreign,
    /// True if targets with an autoscaler may be scaled.
    pub override_autoscaler: bool,
    /// True if targets owned by GitOps may be changed.
    pub override_gitops: bool,
}

impl Policy {
    /// Returns the maximum number of operations per hour that may change this target.
    pub fn most_on(&self, target: &Target) -> u32 {
        let of_some = self
            .budgets
            .iter()
            .find(|budget| budget.targets.matches(target));
        of_some.map_or(self.most_on_target, |budget| budget.most_on_target)
    }

    /// Checks the maintenance windows, the rules and the bounds.
    ///
    /// # Errors
    /// Returns the first issue.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        for (index, window) in self.maintenance.iter().enumerate() {
            window
                .validate()
                .map_err(|issue| issue.within(index).within("maintenance"))?;
        }
        for (index, rule) in self.policy.iter().enumerate() {
            let of_rule = |issue: ConfigIssue| issue.within(index).within("policy");
            if self.policy[..index]
                .iter()
                .any(|other| other.name == rule.name)
            {
                let message = format!(
                    "two rules are called `{}`: give each a name of its own",
                    rule.name
                );
                return Err(of_rule(ConfigIssue::new(message)));
            }
            rule.validate().map_err(of_rule)?;
        }
        if !(0.0..=1.0).contains(&self.most_share) {
            return Err(ConfigIssue::at(
                "most_share",
                "most_share is a share: write a number from 0 to 1",
            ));
        }
        if self.min_replicas > self.max_replicas {
            return Err(ConfigIssue::at(
                "min_replicas",
                "min_replicas is larger than max_replicas",
            ));
        }
        Ok(())
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            modes: vec![],
            policy: vec![],
            maintenance: vec![],
            storm_above: 20,
            approve_within: Duration::from_secs(1800),
            cooldown: Duration::from_secs(300),
            most_on_target: 6,
            budgets: vec![],
            most_in_namespace: 20,
            most_in_cluster: 60,
            most_reversals: 2,
            min_replicas: 1,
            min_ready: 1,
            most_share: 0.5,
            max_replicas: 10,
            max_sample_age: Duration::from_secs(120),
            foreign: Foreign::Hold,
            override_autoscaler: false,
            override_gitops: false,
        }
    }
}
