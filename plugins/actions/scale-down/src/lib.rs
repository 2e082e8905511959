//! Action that removes replicas.

use anomalyzer_plugin_sdk::scaling::{self, Direction, Request};
use anomalyzer_plugin_sdk::{About, Action, Error, Incident, Need, Plan};
use schemars::JsonSchema;
use serde::Deserialize;

/// Number of replicas to remove.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Number of replicas to scale to. If it is set, `by` is ignored.
    pub replicas: Option<u32>,
    /// Number of replicas to remove.
    pub by: u32,
    /// Minimum number of replicas to keep.
    pub min: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            replicas: None,
            by: 1,
            min: 1,
        }
    }
}

/// Action `scale-down`.
pub struct ScaleDown;

impl Action for ScaleDown {
    type Parameters = Parameters;

    const NEEDS: &'static [Need] = &[
        Need {
            operation: "scale",
            scope: "Deployment",
        },
        Need {
            operation: "scale",
            scope: "StatefulSet",
        },
        Need {
            operation: "scale",
            scope: "Process",
        },
    ];

    fn about() -> About {
        About {
            name: "scale-down",
            version: env!("CARGO_PKG_VERSION"),
            summary: "removes replicas",
        }
    }

    fn plan(incident: &Incident, parameters: Parameters) -> Result<Plan, Error> {
        let request = Request {
            replicas: parameters.replicas,
            by: Some(parameters.by),
            bound: parameters.min,
        };
        scaling::plan::<Self>(Direction::Down, incident, request)
    }
}

anomalyzer_plugin_sdk::export_action!(ScaleDown);

#[cfg(test)]
mod tests {
    use anomalyzer_plugin_sdk::serde_json::{Value, json};
    use anomalyzer_plugin_sdk::test::{Case, all_done};
    use anomalyzer_plugin_sdk::{Operation, Step, Target};

    use super::*;

    fn with(desired: u32, parameters: Value) -> Case {
        Case {
            snapshot: json!({"replicas": {"desired": desired, "ready": 1}}),
            parameters,
            ..Case::default()
        }
    }

    #[test]
    fn it_removes_one_unless_told_otherwise_and_leaves_what_is_demanded() {
        for (desired, parameters, to) in [
            (4, json!({}), 3),
            (4, json!({"by": 2}), 2),
            (4, json!({"by": 20}), 1),
            (4, json!({"replicas": 2}), 2),
            (4, json!({"replicas": 0, "min": 3}), 3),
            (1, json!({"min": 0}), 0),
        ] {
            let played = with(desired, parameters)
                .play::<ScaleDown>(all_done)
                .unwrap();
            let [Operation::Scale(scale)] = &played.operations[..] else {
                panic!("{played:?}")
            };
            assert_eq!(scale.replicas, to, "{played:?}");
            assert!(matches!(played.end, Step::Finished(_)));
        }
    }

    #[test]
    fn it_gives_up_where_it_can_not_remove() {
        for (case, why) in [
            (with(1, json!({})), "at least 1"),
            (with(0, json!({})), "no fewer"),
            (with(3, json!({"replicas": 5})), "no fewer"),
            (Case::default(), "not known how many"),
            (
                Case {
                    target: None,
                    ..Case::default()
                },
                "no target",
            ),
        ] {
            let played = case.play::<ScaleDown>(all_done).unwrap();
            let Step::GaveUp(reason) = &played.end else {
                panic!("{played:?}")
            };
            assert!(
                reason.contains(why) && played.operations.is_empty(),
                "{played:?}"
            );
        }
    }

    #[test]
    fn removing_none_is_an_error_of_the_parameters() {
        assert!(matches!(
            with(3, json!({"by": 0})).play::<ScaleDown>(all_done),
            Err(Error::Invalid(_))
        ));
    }

    #[test]
    fn a_target_of_another_kind_is_left_alone() {
        let case = with(2, json!({}));
        let daemons = Target {
            kind: "DaemonSet".to_owned(),
            ..case.target.clone().unwrap()
        };
        let played = Case {
            target: Some(daemons),
            ..case
        }
        .play::<ScaleDown>(all_done)
        .unwrap();
        assert_eq!(played.operations, []);
        assert!(
            matches!(played.end, Step::GaveUp(why) if why.contains("`scale` default/shop/DaemonSet/web"))
        );
    }
}
