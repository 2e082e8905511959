//! Capabilities of the configured operators. An action that no operator can carry out on a target
//! is not offered for that target.

use std::collections::HashSet;

use anomalyzer_domain::{PROCESS_KIND, Target};
use anomalyzer_plugin_host::Need;

/// Operations that need no operator.
const WITHOUT_OPERATOR: [&str; 3] = ["http", "notify", "query"];

/// Targets that the configured operators handle. The engine role has no operators, and offers
/// actions for their targets all the same.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    /// Names of the configured process groups.
    pub process_groups: HashSet<String>,
    /// Returns true for a target whose kind the Kubernetes operator handles. `None` where
    /// Kubernetes is not configured.
    pub kubernetes: Option<fn(&Target) -> bool>,
}

impl Capabilities {
    /// Returns true if an action with these `needs` can perform at least one of its operations on
    /// `target`.
    pub(super) fn covers(&self, target: &Target, needs: &[Need]) -> bool {
        let operated = match target.kind.as_str() {
            PROCESS_KIND => self.process_groups.contains(&target.name),
            _ => self.kubernetes.is_some_and(|handles| handles(target)),
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
        let reach = Capabilities {
            process_groups: ["web".to_owned()].into(),
            kubernetes: Some(|target| target.kind == "Deployment"),
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
        let nothing = Capabilities::default();
        assert!(!nothing.covers(&Target::new("shop", "Deployment", "web"), &scale));
    }
}
