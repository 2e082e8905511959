//! Notifies people, restarts the target, waits, and inspects the target.
//!
//! The action changes nothing itself. It asks the host for one operation after another, and the
//! host answers with the outcome of each. The steps may depend on these answers only. After a
//! crash, the host can then repeat the answers, and the action continues where it was.

use anomalyzer_plugin_sdk::serde_json::Value;
use anomalyzer_plugin_sdk::{
    About, Action, Error, Incident, Need, Notice, Operation, Outcome, Plan, Snapshot, Step, Steps, Target, UnixMs,
    serde_json,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Parameters, set by the operator, a rule or the language model. The comments of the fields become
/// the descriptions in the schema.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Name of the configured channel that is notified before the restart.
    pub channel: String,
    /// Time between the restart and the inspection, in milliseconds.
    #[schemars(range(max = 60000))]
    pub settle_ms: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { channel: "default".to_owned(), settle_ms: 10_000 }
    }
}

/// Action that announces a restart, performs it, and reports the result.
pub struct AnnouncedRestart;

impl Action for AnnouncedRestart {
    type Parameters = Parameters;

    /// All operations that the steps may ask for. The operator grants all, some or none of them.
    const NEEDS: &'static [Need] = &[
        Need { operation: "notify", scope: "*" },
        Need { operation: "restart", scope: "Deployment" },
        Need { operation: "restart", scope: "StatefulSet" },
        Need { operation: "restart", scope: "Process" },
        Need { operation: "inspect", scope: "*" },
    ];

    fn about() -> About {
        About {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            summary: "tells people, restarts the target and looks at what became of it",
        }
    }

    fn plan(incident: &Incident, parameters: Parameters) -> Result<Plan, Error> {
        if parameters.channel.is_empty() {
            return Err(Error::Invalid("`channel` is empty: give the name of a configured channel".to_owned()));
        }
        if parameters.settle_ms > 60_000 {
            return Err(Error::Invalid(format!("`settle_ms` is {}: give at most 60000", parameters.settle_ms)));
        }
        let target = match Self::target(incident, "restart") {
            Ok(target) => target,
            Err(why) => return Ok(Plan::give_up(why)),
        };
        if incident.snapshot.as_ref().is_some_and(|snapshot| snapshot.rolling_out) {
            return Ok(Plan::give_up(format!("{target} is being rolled out: a restart would get in its way")));
        }
        // A fixed list of operations needs no step machine: see `Plan::in_order`.
        Ok(Plan::steps(Restart { target, parameters, asked: Asked::Nothing }))
    }
}

/// State of one run of the action.
struct Restart {
    target: Target,
    parameters: Parameters,
    asked: Asked,
}

/// Last step that was asked for.
enum Asked {
    Nothing,
    Notice,
    Restart,
    Wait,
    Look,
}

impl Steps for Restart {
    fn next(&mut self, _now: UnixMs, last: Outcome) -> Result<Step, Error> {
        let Self { target, parameters, .. } = self;
        let (asked, step) = match self.asked {
            Asked::Nothing => {
                let notice = Notice {
                    channel: parameters.channel.clone(),
                    title: format!("restarting {target}"),
                    text: "Anomalyzer restarts it and looks whether that helped.".to_owned(),
                };
                (Asked::Notice, Step::Perform(Operation::Notify(notice)))
            }
            // The restart goes on even if the notice failed: a broken target is worse than a
            // missing notice.
            Asked::Notice => (Asked::Restart, Step::Perform(Operation::Restart(target.clone()))),
            Asked::Restart => match why_not(&last) {
                None => (Asked::Wait, Step::WaitMs(parameters.settle_ms)),
                // Give up also if the outcome is in doubt. The host goes on verifying the target,
                // and a second restart could be one too many.
                Some(why) => (Asked::Restart, Step::GaveUp(format!("restarting {target} {why}"))),
            },
            Asked::Wait => (Asked::Look, Step::Perform(Operation::Inspect(target.clone()))),
            Asked::Look => (Asked::Look, Step::Finished(format!("restarted {target}{}", seen(&last)))),
        };
        self.asked = asked;
        Ok(step)
    }
}

fn why_not(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Done(_) => None,
        Outcome::Denied(why) => Some(format!("was denied: {why}")),
        Outcome::Failed(why) => Some(format!("failed: {why}")),
        Outcome::InDoubt(why) => Some(format!("may have happened or not: {why}")),
        Outcome::Begin | Outcome::Waited => Some("was never answered".to_owned()),
    }
}

/// Describes the host's answer to `inspect`. Returns an empty text if the answer is not a snapshot
/// with replicas.
fn seen(outcome: &Outcome) -> String {
    let Outcome::Done(answer) = outcome else { return String::new() };
    let snapshot = serde_json::from_str::<Value>(answer).and_then(serde_json::from_value::<Snapshot>);
    match snapshot.ok().and_then(|snapshot| snapshot.replicas) {
        Some(replicas) => format!(": {} of {} replicas are ready", replicas.ready, replicas.desired),
        None => String::new(),
    }
}

anomalyzer_plugin_sdk::export_action!(AnnouncedRestart);

#[cfg(test)]
mod tests {
    use anomalyzer_plugin_sdk::serde_json::json;
    use anomalyzer_plugin_sdk::test::{Case, all_done, assert_lawful_action};
    use anomalyzer_plugin_sdk::{Error, Operation, Outcome, Step, Target};

    use super::AnnouncedRestart;

    #[test]
    fn it_tells_people_restarts_and_looks() {
        let world = |operation: &Operation| match operation {
            Operation::Inspect(_) => Outcome::Done(json!({"replicas": {"desired": 2, "ready": 1}}).to_string()),
            other => all_done(other),
        };
        let played = Case::default().play::<AnnouncedRestart>(world).expect("valid parameters");
        assert!(
            matches!(&played.operations[..], [Operation::Notify(_), Operation::Restart(_), Operation::Inspect(_)]),
            "{played:?}"
        );
        let Step::Finished(summary) = played.end else { panic!("gave up") };
        assert_eq!(summary, "restarted default/shop/Deployment/web: 1 of 2 replicas are ready");
    }

    #[test]
    fn a_notice_that_reaches_nobody_does_not_keep_it() {
        let world = |operation: &Operation| match operation {
            Operation::Notify(_) => Outcome::Denied("not granted".to_owned()),
            other => all_done(other),
        };
        let played = Case::default().play::<AnnouncedRestart>(world).expect("valid parameters");
        assert!(matches!(played.end, Step::Finished(_)), "{played:?}");
    }

    #[test]
    fn it_gives_up_where_there_is_nothing_that_it_can_restart_or_a_rollout_is_under_way() {
        let web = Case::default().target.expect("a target");
        for case in [
            Case { target: None, ..Case::default() },
            Case { target: Some(Target { kind: "CronJob.batch".to_owned(), ..web }), ..Case::default() },
            Case { snapshot: json!({"rolling_out": true}), ..Case::default() },
        ] {
            let played = case.play::<AnnouncedRestart>(all_done).expect("valid parameters");
            assert!(matches!(played.end, Step::GaveUp(_)) && played.operations.is_empty(), "{played:?}");
        }
    }

    #[test]
    fn it_keeps_the_contract_whatever_it_is_told() {
        assert_lawful_action::<AnnouncedRestart>(&Case::default());
    }

    #[test]
    fn parameters_that_make_no_sense_are_named() {
        for (parameters, key) in [(json!({"channel": ""}), "`channel`"), (json!({"chanel": "x"}), "`chanel`")] {
            let case = Case { parameters, ..Case::default() };
            let Err(Error::Invalid(message)) = case.play::<AnnouncedRestart>(all_done) else { panic!("{key} passed") };
            assert!(message.contains(key), "{message}");
        }
    }
}
