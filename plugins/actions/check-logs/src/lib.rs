//! Action that reads the logs of a target.

use anomalyzer_plugin_sdk::{
    About, Action, Error, Incident, LogLines, LogRequest, Need, Operation, Outcome, Plan, Target,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Amount of log to read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Number of lines to read from the end of each replica's log.
    #[schemars(range(min = 1, max = 10000))]
    pub lines: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { lines: 200 }
    }
}

/// Action `check-logs`.
pub struct CheckLogs;

impl Action for CheckLogs {
    type Parameters = Parameters;

    const NEEDS: &'static [Need] = &[Need {
        operation: "read_logs",
        scope: "*",
    }];

    fn about() -> About {
        About {
            name: "check-logs",
            version: env!("CARGO_PKG_VERSION"),
            summary: "reads the logs of a target",
        }
    }

    fn plan(incident: &Incident, parameters: Parameters) -> Result<Plan, Error> {
        if !(1..=10_000).contains(&parameters.lines) {
            return Err(Error::Invalid(format!(
                "`lines` is {}: give 1 to 10000",
                parameters.lines
            )));
        }
        let Some(target) = &incident.target else {
            return Ok(Plan::give_up(
                "it is not known whose log to read: there is no target",
            ));
        };
        let read = |previous| {
            Operation::ReadLogs(LogRequest {
                target: target.clone(),
                lines: parameters.lines,
                previous,
            })
        };
        let mut reads = vec![read(false)];
        let restarted = incident
            .snapshot
            .iter()
            .flat_map(|snapshot| &snapshot.pods)
            .any(|pod| pod.restarts > 0);
        if restarted {
            reads.push(read(true));
        }
        let target = target.clone();
        Ok(Plan::as_far_as_possible(reads, move |results| {
            summary(&target, results)
        }))
    }
}

fn summary(target: &Target, results: &[(Operation, Outcome)]) -> String {
    let mut lines = vec![format!("log of {target}")];
    for (operation, outcome) in results {
        let run = match operation {
            Operation::ReadLogs(LogRequest { previous: true, .. }) => "run before",
            _ => "this run",
        };
        lines.push(match outcome {
            Outcome::Done(answer) => format!("{run}: {}", LogLines::read(answer)),
            Outcome::Denied(why) | Outcome::Failed(why) | Outcome::InDoubt(why) => {
                format!("{run}: not read: {why}")
            }
            Outcome::Begin | Outcome::Waited => format!("{run}: not read"),
        });
    }
    lines.join("\n")
}

anomalyzer_plugin_sdk::export_action!(CheckLogs);

#[cfg(test)]
mod tests {
    use anomalyzer_plugin_sdk::Step;
    use anomalyzer_plugin_sdk::serde_json::json;
    use anomalyzer_plugin_sdk::test::{Case, all_done};

    use super::*;

    fn world(operation: &Operation) -> Outcome {
        match operation {
            Operation::ReadLogs(request) if request.previous => {
                Outcome::Done(json!({"lines": ["web-1 panicked at main.rs"]}).to_string())
            }
            Operation::ReadLogs(_) => {
                Outcome::Done(json!({"lines": ["web-1 INFO up", "web-1 WARN slow"]}).to_string())
            }
            _ => Outcome::Denied("not asked for".to_owned()),
        }
    }

    #[test]
    fn the_run_before_is_read_when_a_replica_was_restarted() {
        let case = Case {
            snapshot: json!({"pods": [{"name": "web-1", "phase": "Running", "ready": true, "restarts": 2}]}),
            ..Case::default()
        };
        let played = case.play::<CheckLogs>(world).unwrap();
        assert_eq!(played.operations.len(), 2);
        let Step::Finished(summary) = played.end else {
            panic!("gave up")
        };
        assert_eq!(
            summary,
            "log of default/shop/Deployment/web\n\
             this run: 2 lines: 0 errors, 1 warnings\n\
             run before: 1 lines: 1 errors, 0 warnings; last errors:\n  web-1 panicked at main.rs"
        );
    }

    #[test]
    fn without_restarts_only_this_run_is_read() {
        for snapshot in [
            json!(null),
            json!({"pods": [{"name": "web-1", "restarts": 0}]}),
        ] {
            let case = Case {
                snapshot,
                parameters: json!({"lines": 7}),
                ..Case::default()
            };
            let played = case.play::<CheckLogs>(world).unwrap();
            let [Operation::ReadLogs(request)] = &played.operations[..] else {
                panic!("{played:?}")
            };
            assert_eq!((request.lines, request.previous), (7, false));
        }
    }

    #[test]
    fn a_log_that_can_not_be_read_is_said_to_be_so() {
        let played = Case::default()
            .play::<CheckLogs>(|_| Outcome::Failed("404".to_owned()))
            .unwrap();
        assert!(matches!(played.end, Step::GaveUp(reason) if reason.contains("not read: 404")));
    }

    #[test]
    fn no_lines_and_no_target_are_told() {
        let none = Case {
            parameters: json!({"lines": 0}),
            ..Case::default()
        };
        assert!(
            matches!(none.play::<CheckLogs>(all_done), Err(Error::Invalid(why)) if why.contains("`lines`"))
        );
        let nothing = Case {
            target: None,
            ..Case::default()
        };
        assert!(matches!(
            nothing.play::<CheckLogs>(all_done).unwrap().end,
            Step::GaveUp(_)
        ));
    }
}
