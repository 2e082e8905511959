//! The built-in rules of the guard, in the order in which they are asked.

mod admission;
mod answer;
mod autonomy;
mod changes;
mod configured;
mod consent;
mod evidence;
mod repetition;
mod replicas;
mod stops;
mod target_state;

use self::admission::{expired, foreign, no_target, other_target, rate_limit, read};
use self::autonomy::{mode, storm};
use self::evidence::{incident_cleared, incident_unknown, missing_data};
use self::repetition::{budget, cooldown, oscillation};
use self::replicas::{healthy_floor, replica_bounds};
use self::stops::{kill_switch, maintenance, record, silence};
use self::target_state::{autoscaler, echo, gitops, reverted, rollout_in_progress, unknown_state};
use super::{Facts, Policy};

pub(super) use self::answer::Rule;
pub(super) use self::configured::configured;

/// Built-in rules that are asked before the configured rules (`[[guard.policy]]`). Permanent
/// objections come first, then temporary ones.
pub(super) const BOUNDS: &[(&str, Rule)] = &[
    ("no_target", no_target),
    ("rate_limit", rate_limit),
    ("other_target", other_target),
    ("expired", expired),
    ("foreign", foreign),
    ("read", read),
    ("kill_switch", kill_switch),
    ("record", record),
    ("silence", silence),
    ("maintenance", maintenance),
    ("incident_unknown", incident_unknown),
    ("incident_cleared", incident_cleared),
    ("missing_data", missing_data),
    ("unknown_state", unknown_state),
    ("rollout_in_progress", rollout_in_progress),
    ("echo", echo),
    ("reverted", reverted),
    ("autoscaler", autoscaler),
    ("gitops", gitops),
    ("replica_bounds", replica_bounds),
    ("healthy_floor", healthy_floor),
    ("cooldown", cooldown),
    ("oscillation", oscillation),
    ("budget", budget),
];

/// Built-in rules that are asked after the configured rules. They limit what the service may do by
/// itself.
pub(super) const AUTONOMY_LIMITS: &[(&str, Rule)] = &[("storm", storm), ("mode", mode)];

/// Rules that object only for a while. A decision that they deny is deferred and retried later.
pub const TEMPORARY_RULES: [&str; 4] = ["silence", "maintenance", "rollout_in_progress", "echo"];

/// Returns true if one of the rules in [`TEMPORARY_RULES`] objects, whatever the other rules
/// return.
pub fn is_temporary(facts: &Facts, policy: &Policy) -> bool {
    BOUNDS
        .iter()
        .any(|(name, rule)| TEMPORARY_RULES.contains(name) && rule(facts, policy).is_some())
}
