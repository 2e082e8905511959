//! What may be proposed for a target.

use std::collections::HashSet;
use std::sync::Arc;

use super::granted;
use super::reach::Reach;
use crate::act::grants;
use crate::config::Config;
use crate::diagnose::Offer;
use crate::domain::solutions;
use crate::plugin::Plugins;

/// What may be proposed for a target at this moment.
pub(crate) fn offer(config: &Config, plugins: &Plugins) -> Offer {
    let (plugins, granted) = (plugins.clone(), granted(config));
    let reach = Reach::new(config);
    let limited: HashSet<String> = config
        .rate_limit
        .iter()
        .map(|limit| limit.target.key())
        .collect();
    Arc::new(move |target| {
        let mut offered: Vec<String> = plugins
            .views()
            .into_iter()
            .filter(|view| {
                view.info.error.is_none()
                    && view.quarantine.is_none()
                    && plugins.has_action(&view.info.name)
            })
            // What needs something and is granted nothing can do nothing.
            .filter(|view| {
                let granted = || grants::in_force(&view.info.name, view.grants.clone(), &granted);
                view.info.needs.is_empty() || !granted().is_empty()
            })
            .filter(|view| reach.covers(target, &view.info.needs))
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
