//! Action that restarts a target, replica by replica.

use anomalyzer_plugin_sdk::{About, Action, Error, Incident, Need, Operation, Plan};
use schemars::JsonSchema;
use serde::Deserialize;

/// Empty: this action has no parameters.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameters {}

/// Action `restart-service`.
pub struct RestartService;

impl Action for RestartService {
    type Parameters = Parameters;

    const NEEDS: &'static [Need] = &[
        Need {
            operation: "restart",
            scope: "Deployment",
        },
        Need {
            operation: "restart",
            scope: "StatefulSet",
        },
        Need {
            operation: "restart",
            scope: "DaemonSet",
        },
        Need {
            operation: "restart",
            scope: "Process",
        },
    ];

    fn about() -> About {
        About {
            name: "restart-service",
            version: env!("CARGO_PKG_VERSION"),
            summary: "restarts a target, replica by replica",
        }
    }

    fn plan(incident: &Incident, _: Parameters) -> Result<Plan, Error> {
        let target = match Self::target(incident, "restart") {
            Ok(target) => target,
            Err(why) => return Ok(Plan::give_up(why)),
        };
        let summary = format!("restarted {target}");
        Ok(Plan::in_order(vec![Operation::Restart(target)], |_| {
            summary
        }))
    }
}

anomalyzer_plugin_sdk::export_action!(RestartService);

#[cfg(test)]
mod tests {
    use anomalyzer_plugin_sdk::test::{Case, all_done};
    use anomalyzer_plugin_sdk::{Outcome, Step, Target, serde_json::json};

    use super::*;

    #[test]
    fn it_restarts_the_target() {
        let case = Case::default();
        let played = case.play::<RestartService>(all_done).unwrap();
        assert_eq!(
            played.operations,
            [Operation::Restart(case.target.unwrap())]
        );
        assert_eq!(
            played.end,
            Step::Finished("restarted default/shop/Deployment/web".to_owned())
        );
    }

    #[test]
    fn it_gives_up_without_a_target_or_when_it_fails() {
        let nothing = Case {
            target: None,
            ..Case::default()
        };
        assert!(matches!(
            nothing.play::<RestartService>(all_done).unwrap().end,
            Step::GaveUp(_)
        ));
        let refused = Case::default()
            .play::<RestartService>(|_| Outcome::Failed("409".to_owned()))
            .unwrap();
        assert!(matches!(refused.end, Step::GaveUp(reason) if reason.contains("409")));
    }

    #[test]
    fn parameters_are_not_passed_over() {
        let case = Case {
            parameters: json!({"force": true}),
            ..Case::default()
        };
        assert!(
            matches!(case.play::<RestartService>(all_done), Err(Error::Invalid(message)) if message.contains("`force`"))
        );
    }

    #[test]
    fn a_target_of_another_kind_is_left_alone() {
        let cron_job = Target {
            kind: "CronJob.batch".to_owned(),
            ..Case::default().target.unwrap()
        };
        let played = Case {
            target: Some(cron_job),
            ..Case::default()
        }
        .play::<RestartService>(all_done)
        .unwrap();
        assert_eq!(played.operations, []);
        assert!(
            matches!(played.end, Step::GaveUp(why) if why.contains("`restart` default/shop/CronJob.batch/web"))
        );
    }
}
