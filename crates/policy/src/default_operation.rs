//! Default operations of the solutions that come with the host.

use serde_json::json;

use anomalyzer_domain::{MergePatch, Notice, Operation, Target, solutions};

/// Returns the default operation of a built-in solution on a target with `replicas` replicas.
/// Returns `None` if the solution only reads, does nothing, or is not known.
pub fn usual(solution: &str, target: &Target, replicas: u32) -> Option<Operation> {
    let target = target.clone();
    Some(match solution {
        solutions::SCALE_UP => Operation::Scale {
            target,
            replicas: replicas + 1,
        },
        solutions::SCALE_DOWN => Operation::Scale {
            target,
            replicas: replicas.saturating_sub(1),
        },
        solutions::RESTART_SERVICE => Operation::Restart { target },
        solutions::RATE_LIMIT => Operation::Patch(MergePatch {
            target,
            patch: json!({}),
        }),
        solutions::ALARM => notice(),
        _ => return None,
    })
}

/// Returns a notice to people.
pub(super) fn notice() -> Operation {
    Operation::Notify(Notice {
        channel: "default".into(),
        title: "a case".into(),
        text: String::new(),
    })
}
