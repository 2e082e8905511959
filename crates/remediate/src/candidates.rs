//! Candidate actions for a target: the solutions that an analyst may propose for it.

use std::collections::HashSet;
use std::sync::Arc;

use super::capability::Capabilities;
use super::grants;
use anomalyzer_diagnose::Offer;
use anomalyzer_domain::{Grant, solutions};
use anomalyzer_plugin_host::Plugins;

/// Configuration that decides which actions are candidates.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// Grants of the configuration.
    pub grants: Vec<Grant>,
    /// Keys of the targets that `[[rate_limit]]` names.
    pub rate_limited: HashSet<String>,
    /// Targets that the configured operators handle.
    pub capabilities: Capabilities,
}

/// Returns a function that lists the candidate actions for a target at the moment of the call.
pub fn candidate_actions(candidates: Candidates, plugins: Plugins) -> Offer {
    let Candidates {
        grants: granted,
        rate_limited,
        capabilities,
    } = candidates;
    Arc::new(move |target| {
        let mut offered: Vec<String> = plugins
            .views()
            .into_iter()
            .filter(|view| {
                view.info.error.is_none()
                    && view.quarantine.is_none()
                    && plugins.has_action(&view.info.name)
            })
            // An action that needs operations and is granted none can do nothing. An action that
            // needs none is offered only if someone who may decide what runs is on record for it:
            // its name and its presence in the list speak to the model.
            .filter(|view| {
                let granted = || grants::in_force(&view.info.name, view.grants.clone(), &granted);
                let approved = view.info.needs.is_empty() && view.has_known_approver();
                approved || !granted().is_empty()
            })
            .filter(|view| capabilities.covers(target, &view.info.needs))
            .map(|view| view.info.name.replace('-', "_"))
            .filter(|name| name != solutions::RATE_LIMIT || rate_limited.contains(&target.key()))
            .filter(|name| {
                target.kind != "Metric"
                    || matches!(name.as_str(), solutions::ALARM | solutions::NO_ACTION)
            })
            .collect();
        offered.sort();
        offered
    })
}
