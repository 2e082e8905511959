//! Outcomes of operations, in the shapes that the host reports to an action.

use std::fmt;

use serde_json::json;

use super::cases;
use anomalyzer_domain::Operation;
use anomalyzer_plugin_host::ActionOutcome;

/// Outcome of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    Denied,
    Failed,
    InDoubt,
}

impl Ending {
    pub(super) const ALL: [Self; 4] = [Self::Done, Self::Denied, Self::Failed, Self::InDoubt];
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::InDoubt => "in doubt",
        })
    }
}

/// Returns the outcome that the action receives.
pub(super) fn answer(operation: &Operation, ending: Ending) -> ActionOutcome {
    match ending {
        Ending::Done => ActionOutcome::Done(match operation {
            Operation::Inspect { target } => cases::usual(&target.kind).snapshot,
            Operation::ReadLogs(_) => {
                json!({"lines": ["web-1 starting", "web-1 ERROR out of connections", ""]})
            }
            Operation::Query { .. } => {
                json!({"series": [{"labels": {"pod": "web-1"}, "samples": [[0, 1.5]]}]})
            }
            Operation::Notify(_) => json!({"delivered": ["log"], "failed": []}),
            Operation::Http(_) => json!({"status": 200, "body": "ok"}),
            Operation::Scale { replicas, .. } => {
                json!({"before": {"replicas": 2}, "after": {"replicas": replicas}})
            }
            _ => json!({"before": null, "after": null}),
        }),
        Ending::Denied => {
            ActionOutcome::Denied("the target was scaled 12 s ago: cooldown".to_owned())
        }
        Ending::Failed => ActionOutcome::Failed("409: it was changed meanwhile".to_owned()),
        Ending::InDoubt => ActionOutcome::InDoubt("no answer within 30s".to_owned()),
    }
}
