//! Which actions can do anything at all about a target: what is out of reach of the configured
//! operators is not offered.

use std::collections::HashSet;

use crate::act::{kubernetes, local};
use crate::config::Config;
use crate::domain::Target;
use crate::plugin::Need;

/// Operations that need no operator.
const WITHOUT_OPERATOR: [&str; 3] = ["http", "notify", "query"];

/// What the configured operators handle. The engine has none of them, and offers all the same.
pub(super) struct Reach {
    groups: HashSet<String>,
    kubernetes: bool,
}

impl Reach {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            groups: config.local.groups.keys().cloned().collect(),
            kubernetes: config.kubernetes.is_some(),
        }
    }

    /// Whether an action with these needs can do one of the things that it needs, on this target.
    pub(super) fn covers(&self, target: &Target, needs: &[Need]) -> bool {
        let operated = match target.kind.as_str() {
            local::KIND => self.groups.contains(&target.name),
            _ => self.kubernetes && kubernetes::knows(target),
        };
        let of_kind =
            |scope: &str| scope == "*" || scope.split('/').next() == Some(target.kind.as_str());
        let possible = |need: &Need| {
            WITHOUT_OPERATOR.contains(&need.operation.as_str())
                || (operated && of_kind(&need.scope))
        };
        needs.is_empty() || needs.iter().any(possible)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(needs: &[(&str, &str)]) -> Vec<Need> {
        let need = |(operation, scope): &(&str, &str)| Need {
            operation: (*operation).into(),
            scope: (*scope).into(),
        };
        needs.iter().map(need).collect()
    }

    #[test]
    fn what_no_operator_can_do_is_not_offered() {
        let reach = Reach {
            groups: ["web".to_owned()].into(),
            kubernetes: true,
        };
        let scale = needs(&[("scale", "Deployment"), ("scale", "Process")]);
        let (process, service) = (
            Target::new("", "Process", "web"),
            Target::new("", "Service", "web"),
        );
        assert!(reach.covers(&process, &scale));
        assert!(reach.covers(&Target::new("shop", "Deployment", "web"), &scale));
        assert!(!reach.covers(&Target::new("", "Process", "other"), &scale));
        assert!(!reach.covers(&Target::new("shop", "Pod", "web"), &scale));
        assert!(!reach.covers(&service, &scale));
        assert!(!reach.covers(&service, &needs(&[("read_logs", "*")])));
        assert!(reach.covers(&service, &needs(&[("read_logs", "*"), ("query", "*")])));
        assert!(reach.covers(&service, &needs(&[("notify", "*")])));
        assert!(reach.covers(&service, &[]));
        let nothing = Reach {
            groups: HashSet::new(),
            kubernetes: false,
        };
        assert!(!nothing.covers(&Target::new("shop", "Deployment", "web"), &scale));
    }
}
