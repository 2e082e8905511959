//! What the operator of the system allows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Maintenance, PolicyRule, Selector};
use crate::domain::{Target, duration};

/// What to do with a solution that someone else wrote to the topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Foreign {
    /// Refuse: whoever can write to the topic could else command the cluster.
    Deny,
    /// Hold for a person.
    #[default]
    Hold,
    /// Treat it as our own.
    Allow,
}

/// How far the host may go by itself with some targets, or with some solutions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeFor {
    /// Which targets: all if nothing is said.
    #[serde(default)]
    pub targets: Selector,
    /// Which solution, as `restart_service`: all if nothing is said.
    #[serde(default)]
    pub solution: Option<String>,
    /// How far. The least of all that apply counts.
    pub mode: Mode,
}

/// How much may be changed of some targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetFor {
    /// Which targets: all if nothing is said.
    #[serde(default)]
    pub targets: Selector,
    /// Operations that change one of them, in an hour.
    pub most_on_target: u32,
}

/// The time that budgets and reversals are counted over.
pub const HOUR: Duration = Duration::from_secs(3600);

/// The bounds within which the host acts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// How far the host may go by itself.
    pub mode: Mode,
    /// The same for some targets or solutions.
    pub modes: Vec<ModeFor>,
    /// Rules of the operator's own: the first whose condition holds counts.
    pub policy: Vec<PolicyRule>,
    /// When work is planned, and nothing is done by itself.
    pub maintenance: Vec<Maintenance>,
    /// With more incidents open than that it is a storm: its cause is none of theirs, and a person
    /// is asked.
    pub storm_above: u32,
    /// How long a person may take to say yes; then it is a no.
    #[serde(with = "duration")]
    pub approve_within: Duration,
    /// The same solution on the same target not again within this time.
    #[serde(with = "duration")]
    pub cooldown: Duration,
    /// Operations that change one target, in an hour.
    pub most_on_target: u32,
    /// The same for some targets; the first that applies counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetFor>,
    /// Operations that change targets of one namespace, in an hour.
    pub most_in_namespace: u32,
    /// Operations that change targets of one cluster, in an hour.
    pub most_in_cluster: u32,
    /// How often the scaling of a target may turn from up to down or back, in an hour.
    pub most_reversals: u32,
    /// Never scale below.
    pub min_replicas: u32,
    /// So many ready replicas are left in any case when some are taken away.
    pub min_ready: u32,
    /// At most this share of the replicas is taken away at once, 0 to 1.
    pub most_share: f64,
    /// Never scale above.
    pub max_replicas: u32,
    /// Samples older than this count as missing.
    #[serde(with = "duration")]
    pub max_sample_age: Duration,
    /// Solutions from someone else.
    pub foreign: Foreign,
    /// Whether to scale what an autoscaler scales.
    pub override_autoscaler: bool,
    /// Whether to change what GitOps owns.
    pub override_gitops: bool,
}

impl Policy {
    /// How many operations may change this target in an hour.
    pub fn most_on(&self, target: &Target) -> u32 {
        let of_some = self
            .budgets
            .iter()
            .find(|budget| budget.targets.matches(target));
        of_some.map_or(self.most_on_target, |budget| budget.most_on_target)
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
