//! What an action is.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{About, Error, Incident, Plan, Target};

/// Something that an action needs the host to do for it, and where. The operator grants it or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// `scale`, `restart`, `notify`, …
    pub operation: &'static str,
    /// `Deployment`, `Deployment/spec/template/spec`, `hooks.example.com:443`, or `*`.
    pub scope: &'static str,
}

impl Need {
    /// Whether it lets the operation be asked for of a target of that kind; a patch, of some part
    /// of it.
    pub fn covers(&self, operation: &str, kind: &str) -> bool {
        let part = |scope: &str| {
            scope
                .strip_prefix(kind)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.names(operation) && (self.scope == "*" || part(self.scope))
    }

    /// `read-logs` and `read_logs` are one.
    pub(crate) fn names(&self, operation: &str) -> bool {
        self.operation.replace('-', "_") == operation.replace('-', "_")
    }
}

/// Decides what to do about an incident. It never touches the world: it is a pure function of what
/// it is told, and asks the host for each operation.
pub trait Action: 'static {
    /// What may be set. Use `#[serde(deny_unknown_fields, default)]`: a typo is then told by its
    /// key.
    type Parameters: DeserializeOwned + JsonSchema;

    /// Everything that its plans may ask for.
    const NEEDS: &'static [Need];

    /// Who it is.
    fn about() -> About;

    /// What to do. Parameters that make no sense are [`Error::Invalid`], with a message that names
    /// the key; where nothing can be done about this incident, the plan is [`Plan::give_up`].
    fn plan(incident: &Incident, parameters: Self::Parameters) -> Result<Plan, Error>;

    /// The incident's target, if this operation may be asked for of its kind by [`Action::NEEDS`].
    /// Otherwise why there is none, for [`Plan::give_up`]: the kinds of targets are without end,
    /// and what is not declared is denied.
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
