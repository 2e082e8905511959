//! Decides which actions the configured operators can perform on a target. Other actions are not
//! proposed.

use std::collections::HashSet;

use super::{kubernetes, local};
use crate::domain::Target;
use crate::plugin::Need;

/// Operations that need no operator.
const WITHOUT_OPERATOR: [&str; 3] = ["http", "notify", "query"];

/// Targets that the configured operators handle. The engine runs no operator, and proposes actions
/// by the configuration alone.
pub(super) struct Capabilities {
    groups: HashSet<String>,
    kubernetes: bool,
}

impl Capabilities {
    /// `groups` are the process groups of the local operator; `kubernetes` is true if a cluster is
    /// configured.
    pub(super) fn new(groups: HashSet<String>, kubernetes: bool) -> Self {
        Self { groups, kubernetes }
    }

    /// Returns true if an action with these `needs` can perform one of them on this target.
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
        let capabilities = Capabilities::new(["web".to_owned()].into(), true);
        let scale = needs(&[("scale", "Deployment"), ("scale", "Process")]);
        let (process, service) = (
            Target::new("", "Process", "web"),
            Target::new("", "Service", "web"),
        );
        assert!(capabilities.covers(&process, &scale));
        assert!(capabilities.covers(&Target::new("shop", "Deployment", "web"), &scale));
        assert!(!capabilities.covers(&Target::new("", "Process", "other"), &scale));
        assert!(!capabilities.covers(&Target::new("shop", "Pod", "web"), &scale));
        assert!(!capabilities.covers(&service, &scale));
        assert!(!capabilities.covers(&service, &needs(&[("read_logs", "*")])));
        assert!(capabilities.covers(&service, &needs(&[("read_logs", "*"), ("query", "*")])));
        assert!(capabilities.covers(&service, &needs(&[("notify", "*")])));
        assert!(capabilities.covers(&service, &[]));
        let nothing = Capabilities::new(HashSet::new(), false);
        assert!(!nothing.covers(&Target::new("shop", "Deployment", "web"), &scale));
    }
}
