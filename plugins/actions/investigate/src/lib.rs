//! Action that gathers the known facts about a target.

mod summary;

use anomalyzer_plugin_sdk::{About, Action, Error, Incident, LogRequest, Need, Operation, Plan};
use schemars::JsonSchema;
use serde::Deserialize;

/// Facts to gather besides the target's state and log.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// PromQL queries. Each is asked once.
    pub queries: Vec<String>,
    /// Number of lines to read from the end of each replica's log.
    #[schemars(range(min = 1, max = 10000))]
    pub lines: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            queries: Vec::new(),
            lines: 100,
        }
    }
}

/// Action `investigate`.
pub struct Investigate;

const MOST_QUERIES: usize = 20;

impl Action for Investigate {
    type Parameters = Parameters;

    const NEEDS: &'static [Need] = &[
        Need {
            operation: "inspect",
            scope: "*",
        },
        Need {
            operation: "read_logs",
            scope: "*",
        },
        Need {
            operation: "query",
            scope: "*",
        },
    ];

    fn about() -> About {
        About {
            name: "investigate",
            version: env!("CARGO_PKG_VERSION"),
            summary: "gathers what is known about a target: state, log and metrics",
        }
    }

    fn plan(incident: &Incident, parameters: Parameters) -> Result<Plan, Error> {
        if parameters.queries.len() > MOST_QUERIES {
            return Err(Error::Invalid(format!(
                "`queries` has {}: give at most {MOST_QUERIES}",
                parameters.queries.len()
            )));
        }
        if !(1..=10_000).contains(&parameters.lines) {
            return Err(Error::Invalid(format!(
                "`lines` is {}: give 1 to 10000",
                parameters.lines
            )));
        }
        let mut reads = Vec::new();
        if let Some(target) = incident.target.clone() {
            reads.push(Operation::Inspect(target.clone()));
            reads.push(Operation::ReadLogs(LogRequest {
                target,
                lines: parameters.lines,
                previous: false,
            }));
        }
        reads.extend(parameters.queries.into_iter().map(Operation::Query));
        if reads.is_empty() {
            return Ok(Plan::give_up(
                "there is nothing to look at: no target and no queries",
            ));
        }
        Ok(Plan::as_far_as_possible(reads, |results| {
            results
                .iter()
                .map(|(operation, outcome)| summary::of(operation, outcome))
                .collect::<Vec<_>>()
                .join("\n")
        }))
    }
}

anomalyzer_plugin_sdk::export_action!(Investigate);

#[cfg(test)]
mod tests {
    use anomalyzer_plugin_sdk::serde_json::json;
    use anomalyzer_plugin_sdk::test::{Case, all_done};
    use anomalyzer_plugin_sdk::{Outcome, Step};

    use super::*;

    fn world(operation: &Operation) -> Outcome {
        Outcome::Done(
            match operation {
                Operation::Inspect(_) => json!({
                    "replicas": {"desired": 3, "ready": 2}, "rolling_out": true, "events": ["Back-off restarting web-1"],
                    "pods": [{"name": "web-1", "phase": "Running", "ready": false, "restarts": 4, "reason": "OOMKilled"},
                             {"name": "web-2", "phase": "Running", "ready": true, "restarts": 0}],
                }),
                Operation::ReadLogs(_) => json!({"lines": ["web-1 ERROR out of memory"]}),
                _ => json!({"series": [{"labels": {"pod": "web-1"}, "samples": [[1000, 0.5], [2000, 0.75]]}]}),
            }
            .to_string(),
        )
    }

    #[test]
    fn state_log_and_metrics_are_gathered() {
        let case = Case {
            parameters: json!({"queries": ["up"]}),
            ..Case::default()
        };
        let played = case.play::<Investigate>(world).unwrap();
        assert_eq!(played.operations.len(), 3);
        let Step::Finished(summary) = played.end else {
            panic!("gave up")
        };
        assert_eq!(
            summary,
            "default/shop/Deployment/web: 2 of 3 replicas ready, a rollout is under way\n  \
             web-1: Running, not ready, restarted 4 times, OOMKilled\n  \
             event: Back-off restarting web-1\n\
             log: 1 lines: 1 errors, 0 warnings; last errors:\n  web-1 ERROR out of memory\n\
             up: 1 series: {pod=\"web-1\"} 0.75"
        );
    }

    #[test]
    fn a_read_that_fails_does_not_stop_the_others() {
        let case = Case {
            parameters: json!({"queries": ["a", "b"]}),
            ..Case::default()
        };
        let refuse = |operation: &Operation| match operation {
            Operation::Query(query) if query == "b" => world(operation),
            _ => Outcome::Failed("no answer".to_owned()),
        };
        let played = case.play::<Investigate>(refuse).unwrap();
        assert_eq!(played.operations.len(), 4);
        let Step::Finished(summary) = played.end else {
            panic!("gave up")
        };
        assert_eq!(summary.matches("no answer").count(), 3);
        assert!(summary.ends_with("b: 1 series: {pod=\"web-1\"} 0.75"));
    }

    #[test]
    fn answers_of_another_shape_are_said_to_be_so() {
        let case = Case {
            parameters: json!({"queries": ["a"]}),
            ..Case::default()
        };
        let Step::Finished(summary) = case.play::<Investigate>(all_done).unwrap().end else {
            panic!("gave up")
        };
        assert!(
            summary.contains("nothing is known") && summary.contains("can't be read"),
            "{summary}"
        );
    }

    #[test]
    fn without_target_and_queries_there_is_nothing_to_do() {
        let nothing = Case {
            target: None,
            ..Case::default()
        };
        assert!(matches!(
            nothing.play::<Investigate>(all_done).unwrap().end,
            Step::GaveUp(_)
        ));
        let many = Case {
            parameters: json!({"queries": vec!["up"; 21]}),
            ..Case::default()
        };
        assert!(
            matches!(many.play::<Investigate>(all_done), Err(Error::Invalid(why)) if why.contains("`queries`"))
        );
    }
}
