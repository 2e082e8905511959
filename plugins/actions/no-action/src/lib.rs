//! Action that does nothing and records the reason.

use anomalyzer_plugin_sdk::{About, Action, Error, Incident, Need, Plan};
use schemars::JsonSchema;
use serde::Deserialize;

/// Empty: this action has no parameters.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameters {}

/// Action `no-action`.
pub struct NoAction;

impl Action for NoAction {
    type Parameters = Parameters;

    const NEEDS: &'static [Need] = &[];

    fn about() -> About {
        About {
            name: "no-action",
            version: env!("CARGO_PKG_VERSION"),
            summary: "does nothing, on the record",
        }
    }

    fn plan(incident: &Incident, _: Parameters) -> Result<Plan, Error> {
        Ok(Plan::finished(match &incident.diagnosis {
            Some(diagnosis) if !diagnosis.explanation.is_empty() => {
                format!("nothing was done: {}", diagnosis.explanation)
            }
            _ => "nothing was done".to_owned(),
        }))
    }
}

anomalyzer_plugin_sdk::export_action!(NoAction);

#[cfg(test)]
mod tests {
    use anomalyzer_plugin_sdk::test::{Case, all_done};
    use anomalyzer_plugin_sdk::{Step, serde_json::json};

    use super::*;

    #[test]
    fn it_ends_at_once_and_says_why() {
        let case = Case {
            diagnosis: json!({"explanation": "one bad second"}),
            ..Case::default()
        };
        let played = case.play::<NoAction>(all_done).unwrap();
        assert!(played.operations.is_empty());
        assert_eq!(
            played.end,
            Step::Finished("nothing was done: one bad second".to_owned())
        );
        let played = Case {
            target: None,
            ..Case::default()
        }
        .play::<NoAction>(all_done)
        .unwrap();
        assert_eq!(played.end, Step::Finished("nothing was done".to_owned()));
    }
}
