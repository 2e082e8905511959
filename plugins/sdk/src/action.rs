//! Actions: the trait that an action implements, and its needs.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{About, Error, Incident, Plan, Target};

/// Operation that an action needs the host to do, and its scope. The operator grants it or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Name of the operation: `scale`, `restart`, `notify`, …
    pub operation: &'static str,
    /// Scope of the operation: `Deployment`, `Deployment/spec/template/spec`,
    /// `hooks.example.com:443`, or `*`.
    pub scope: &'static str,
}

impl Need {
    /// Returns true if this need allows `operation` on a target of that kind. For a patch, it
    /// allows the patch of some part of the target.
    pub fn covers(&self, operation: &str, kind: &str) -> bool {
        let part = |scope: &str| {
            scope
                .strip_prefix(kind)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.names(operation) && (self.scope == "*" || part(self.scope))
    }

    /// Returns true if this need names `operation`. `read-logs` and `read_logs` are equal.
    pub(crate) fn names(&self, operation: &str) -> bool {
        self.operation.replace('-', "_") == operation.replace('-', "_")
    }
}

/// Decides what to do about an incident. An action never touches the world. It is a pure function
/// of its input, and asks the host for each operation.
pub trait Action: 'static {
    /// Parameters of the action. Use `#[serde(deny_unknown_fields, default)]`. The error for a typo
    /// then names the key.
    type Parameters: DeserializeOwned + JsonSchema;

    /// All operations that its plans may ask for.
    const NEEDS: &'static [Need];

    /// Returns the name, version and summary of the action.
    fn about() -> About;

    /// Plans what to do. Returns [`Error::Invalid`] if the parameters make no sense, with a message
    /// that names the key. If nothing can be done about this incident, returns [`Plan::give_up`].
    fn plan(incident: &Incident, parameters: Self::Parameters) -> Result<Plan, Error>;

    /// Returns the incident's target, if [`Action::NEEDS`] allows the operation on its kind.
    /// Otherwise returns the reason, for [`Plan::give_up`]. There are kinds of targets without end,
    /// and the host denies an operation that is not declared.
    fn target(incident: &Incident, operation: &str) -> Result<Target, String> {
        let Some(target) = &incident.target else {
            return Err(format!(
                "it is not known what to `{operation}`: there is no target"
            ));
        };
        if Self::NEEDS
            .iter()
            .any(|need| need.covers(operation, &target.kind))
        {
            return Ok(target.clone());
        }
        let known: Vec<&str> = Self::NEEDS
            .iter()
            .filter(|need| need.names(operation))
            .map(|need| need.scope)
            .collect();
        if known.is_empty() {
            return Err(format!("`{operation}` is not among its needs"));
        }
        Err(format!(
            "it does not know how to `{operation}` {target}, only {}",
            known.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scaler;

    impl Action for Scaler {
        type Parameters = serde_json::Value;
        const NEEDS: &'static [Need] = &[
            Need {
                operation: "scale",
                scope: "Deployment",
            },
            Need {
                operation: "patch",
                scope: "Deployment/spec/template",
            },
            Need {
                operation: "read-logs",
                scope: "*",
            },
        ];

        fn about() -> About {
            About {
                name: "scaler",
                version: "0.1.0",
                summary: "",
            }
        }

        fn plan(_: &Incident, _: serde_json::Value) -> Result<Plan, Error> {
            Ok(Plan::finished("nothing was done"))
        }
    }

    fn about(kind: Option<&str>) -> Incident {
        let target = kind.map(|kind| Target {
            cluster: "default".to_owned(),
            namespace: "shop".to_owned(),
            kind: kind.to_owned(),
            name: "web".to_owned(),
        });
        Incident {
            id: "inc-1".to_owned(),
            target,
            snapshot: None,
            findings: Vec::new(),
            diagnosis: None,
        }
    }

    #[test]
    fn a_target_of_a_declared_kind_is_one_to_act_on() {
        for (operation, kind) in [
            ("scale", "Deployment"),
            ("patch", "Deployment"),
            ("read_logs", "CronJob.batch"),
        ] {
            assert_eq!(
                Scaler::target(&about(Some(kind)), operation).map(|target| target.kind),
                Ok(kind.to_owned())
            );
        }
    }

    #[test]
    fn a_target_of_another_kind_is_a_reason_to_give_up() {
        let why = |kind, operation| Scaler::target(&about(kind), operation).unwrap_err();
        assert_eq!(
            why(Some("DaemonSet"), "scale"),
            "it does not know how to `scale` default/shop/DaemonSet/web, only Deployment"
        );
        assert_eq!(
            why(Some("Deployment"), "restart"),
            "`restart` is not among its needs"
        );
        assert_eq!(
            why(None, "scale"),
            "it is not known what to `scale`: there is no target"
        );
    }
}
