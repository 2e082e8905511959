//! Tells people, restarts the target, gives it time, and looks at what became of it.
//!
//! It touches nothing itself: it asks the host for one operation after another, and is told what
//! came of each. That is all that it may depend on, so that after a crash it can be told the same
//! again and goes on where it was.

use anomalyzer_plugin_sdk::serde_json::Value;
use anomalyzer_plugin_sdk::{
    About, Action, Error, Incident, Need, Notice, Operation, Outcome, Plan, Snapshot, Step, Steps, Target, UnixMs,
    serde_json,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// What may be set, by the operator, a rule or the language model. The comments become the
/// descriptions in the schema.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// The configured channel that is told beforehand.
    pub channel: String,
    /// How long after the restart to look again, in milliseconds.
    #[schemars(range(max = 60000))]
    pub settle_ms: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { channel: "default".to_owned(), settle_ms: 10_000 }
    }
}

/// The action.
pub struct AnnouncedRestart;

impl Action for AnnouncedRestart {
    type Parameters = Parameters;

    /// All that its steps may ask for. The operator grants it, or part of it, or nothing.
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
        // Where one operation after another is all there is to it, `Plan::in_order` does without a
        // step machine.
        Ok(Plan::steps(Restart { target, parameters, asked: Asked::Nothing }))
    }
}

/// Where it is.
struct Restart {
    target: Target,
    parameters: Parameters,
    asked: Asked,
}

/// What it asked for last.
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
            // People who can't be told are no reason to leave it broken.
            Asked::Notice => (Asked::Restart, Step::Perform(Operation::Restart(target.clone()))),
            Asked::Restart => match why_not(&last) {
                None => (Asked::Wait, Step::WaitMs(parameters.settle_ms)),
                // Also when in doubt: the host goes on looking, and a second restart could be one
                // too many.
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

/// What the host answered to `inspect`. Anything else than a snapshot is passed over.
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
