//! Computes which actions may be proposed for a target.

use std::collections::HashSet;
use std::sync::Arc;

use super::capability::Capabilities;
use super::grants::{self, Grant};
use crate::diagnose::Offer;
use crate::domain::{Target, solutions};
use crate::plugin::Plugins;

/// The settings that decide which actions are candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Grants of the configuration, or the grants of the shipped actions.
    pub grants: Vec<Grant>,
    /// Targets with a configured rate limit.
    pub rate_limited: Vec<Target>,
    /// Names of the process groups of the local operator.
    pub groups: HashSet<String>,
    /// True if a cluster is configured.
    pub kubernetes: bool,
}

/// Returns a function that lists the candidate actions of a target, as the plugins are at the time
/// of the call.
pub fn candidate_actions(candidates: Candidates, plugins: &Plugins) -> Offer {
    let plugins = plugins.clone();
    let Candidates {
        grants: granted,
        rate_limited,
        groups,
        kubernetes,
    } = candidates;
    let capabilities = Capabilities::new(groups, kubernetes);
    let limited: HashSet<String> = rate_limited.iter().map(Target::key).collect();
    Arc::new(move |target| {
        let mut offered: Vec<String> = plugins
            .views()
            .into_iter()
            .filter(|view| {
                view.info.error.is_none()
                    && view.quarantine.is_none()
                    && plugins.has_action(&view.info.name)
            })
            // An action with needs and without grants can do nothing.
            .filter(|view| {
                let granted = || grants::in_force(&view.info.name, view.grants.clone(), &granted);
                view.info.needs.is_empty() || !granted().is_empty()
            })
            .filter(|view| capabilities.covers(target, &view.info.needs))
            .map(|view| view.info.name.replace('-', "_"))
            .filter(|name| name != solutions::RATE_LIMIT || limited.contains(&target.key()))
            .filter(|name| {
                target.kind != "Metric"
                    || matches!(name.as_str(), solutions::ALARM | solutions::NO_ACTION)
            })
            .collect();
        offered.sort();
        offered
    })
}
