//! Action that adds replicas.

use anomalyzer_plugin_sdk::scaling::{self, Direction, Request};
use anomalyzer_plugin_sdk::{About, Action, Error, Incident, Need, Plan};
use schemars::JsonSchema;
use serde::Deserialize;

/// Number of replicas to add.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Number of replicas to scale to. If it is set, `by` is ignored.
    pub replicas: Option<u32>,
    /// Number of replicas to add. By default the current number, at least one.
    pub by: Option<u32>,
    /// Maximum number of replicas.
    pub max: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            replicas: None,
            by: None,
            max: 10,
        }
    }
}

/// Action `scale-up`.
pub struct ScaleUp;

impl Action for ScaleUp {
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
            name: "scale-up",
            version: env!("CARGO_PKG_VERSION"),
            summary: "adds replicas",
        }
    }

    fn plan(incident: &Incident, parameters: Parameters) -> Result<Plan, Error> {
        let request = Request {
            replicas: parameters.replicas,
            by: parameters.by,
            bound: parameters.max,
        };
        scaling::plan::<Self>(Direction::Up, incident, request)
    }
}

anomalyzer_plugin_sdk::export_action!(ScaleUp);

#[cfg(test)]
mod tests {
    use anomalyzer_plugin_sdk::serde_json::{Value, json};
    use anomalyzer_plugin_sdk::test::{Case, all_done};
    use anomalyzer_plugin_sdk::{Operation, Outcome, Step, Target};

    use super::*;

    fn with(snapshot: Value, parameters: Value) -> Case {
        Case {
            snapshot,
            parameters,
            ..Case::default()
        }
    }

    fn replicas(desired: u32) -> Value {
        json!({"replicas": {"desired": desired, "ready": 1}})
    }

    #[test]
    fn it_scales_to_twice_as_many_unless_told_otherwise_and_to_no_more_than_allowed() {
        for (desired, parameters, to) in [
            (2, json!({}), 4),
            (0, json!({}), 1),
            (6, json!({}), 10),
            (2, json!({"by": 1}), 3),
            (2, json!({"replicas": 5}), 5),
            (2, json!({"replicas": 5, "by": 1}), 5),
            (2, json!({"replicas": 50}), 10),
            (2, json!({"replicas": 50, "max": 20}), 20),
        ] {
            let played = with(replicas(desired), parameters)
                .play::<ScaleUp>(all_done)
                .unwrap();
            let [Operation::Scale(scale)] = &played.operations[..] else {
                panic!("{played:?}")
            };
            assert_eq!(scale.replicas, to, "{played:?}");
            assert!(matches!(played.end, Step::Finished(_)));
        }
    }

    #[test]
    fn it_gives_up_where_it_can_not_add() {
        for (snapshot, parameters, why) in [
            (Value::Null, json!({}), "not known how many"),
            (json!({"replicas": null}), json!({}), "not known how many"),
            (replicas(10), json!({}), "at most 10"),
            (replicas(5), json!({"replicas": 3}), "no more"),
        ] {
            let played = with(snapshot, parameters)
                .play::<ScaleUp>(all_done)
                .unwrap();
            let Step::GaveUp(reason) = &played.end else {
                panic!("{played:?}")
            };
            assert!(
                reason.contains(why) && played.operations.is_empty(),
                "{played:?}"
            );
        }
        let nothing = Case {
            target: None,
            ..Case::default()
        };
        assert!(matches!(
            nothing.play::<ScaleUp>(all_done).unwrap().end,
            Step::GaveUp(_)
        ));
    }

    #[test]
    fn a_refusal_ends_it_with_the_reason() {
        let played = with(replicas(2), json!({}))
            .play::<ScaleUp>(|_| Outcome::Denied("cooldown".to_owned()))
            .unwrap();
        let Step::GaveUp(reason) = played.end else {
            panic!("went on")
        };
        assert_eq!(
            reason,
            "scaling default/shop/Deployment/web to 4 was denied: cooldown"
        );
    }

    #[test]
    fn parameters_that_make_no_sense_are_named() {
        for (parameters, key) in [
            (json!({"by": -1}), "`by`"),
            (json!({"by": 0}), "`by`"),
            (json!({"b": 1}), "`b`"),
        ] {
            let Err(Error::Invalid(message)) =
                with(replicas(2), parameters).play::<ScaleUp>(all_done)
            else {
                panic!("{key} passed")
            };
            assert!(message.contains(key), "{message}");
        }
    }

    #[test]
    fn a_target_of_another_kind_is_left_alone() {
        let case = with(replicas(2), json!({}));
        let daemons = Target {
            kind: "DaemonSet".to_owned(),
            ..case.target.clone().unwrap()
        };
        let played = Case {
            target: Some(daemons),
            ..case
        }
        .play::<ScaleUp>(all_done)
        .unwrap();
        assert_eq!(played.operations, []);
        assert!(
            matches!(played.end, Step::GaveUp(why) if why.contains("`scale` default/shop/DaemonSet/web"))
        );
    }
}
