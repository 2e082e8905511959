//! Effect of an operation on its target. The rules judge the effect, whichever operation has it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use anomalyzer_domain::{
    DeclaredEffect, HttpRequest, MergePatch, Operation, PROCESS_KIND, Snapshot,
};

/// Fields of a spec that change how a later rollout runs, and neither replicas nor pods. `paused`
/// is not one of them: a rollout that was paused goes on.
const HARMLESS_FIELDS: [&str; 4] = [
    "minReadySeconds",
    "progressDeadlineSeconds",
    "revisionHistoryLimit",
    "strategy",
];

/// Effect of an operation on its target. The default is no effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Number of replicas that the target is set to. It is 0 if the operation sets a number that
    /// is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// True if replicas are restarted, replaced or stopped, or if service is interrupted.
    #[serde(default)]
    pub interrupts: bool,
    /// True if the operation is a request whose effect nobody declared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undeclared: bool,
}

impl Effect {
    pub(super) const NONE: Self = Self {
        replicas: None,
        interrupts: false,
        undeclared: false,
    };
    const INTERRUPTS: Self = Self {
        interrupts: true,
        ..Self::NONE
    };
    /// The most drastic effect, of an operation that could do anything to the target.
    const DRASTIC: Self = Self {
        replicas: Some(0),
        ..Self::INTERRUPTS
    };

    /// Returns the effect of an operation on a target in the state `snapshot`. `declared` is the
    /// effect of a request that the configuration declares.
    pub fn of(operation: &Operation, snapshot: Option<&Snapshot>, declared: Option<Self>) -> Self {
        match operation {
            Operation::Inspect { .. }
            | Operation::ReadLogs(_)
            | Operation::Query { .. }
            | Operation::Notify(_) => Self::NONE,
            Operation::Scale { replicas, .. } => Self {
                replicas: Some(*replicas),
                ..Self::NONE
            },
            Operation::Restart { .. } | Operation::RollBack { .. } => Self::INTERRUPTS,
            Operation::Patch(patch) => of_patch(patch, snapshot),
            Operation::Http(request) => declared.unwrap_or_else(|| of_request(request)),
            Operation::Custom { .. } => Self::DRASTIC,
        }
    }

    /// Returns the effect that an operation on record states by itself. A request states none.
    pub fn stated(operation: &Operation) -> Self {
        Self::of(operation, None, Some(Self::NONE))
    }

    /// Returns the effect that a grant declares.
    pub(super) fn declared(effect: DeclaredEffect) -> Self {
        match effect {
            DeclaredEffect::Replicas => Self {
                replicas: Some(0),
                ..Self::NONE
            },
            DeclaredEffect::Template | DeclaredEffect::Environment => Self::INTERRUPTS,
            DeclaredEffect::None => Self::NONE,
        }
    }

    /// Returns the effect of an operation that has both effects.
    pub(super) fn and(self, other: Self) -> Self {
        let replicas = [self.replicas, other.replicas].into_iter().flatten();
        Self {
            replicas: replicas.min(),
            interrupts: self.interrupts || other.interrupts,
            undeclared: self.undeclared || other.undeclared,
        }
    }

    /// Returns the effect that the rules of earlier versions saw: that of the verb.
    pub(super) fn of_verb(operation: &Operation) -> Self {
        match operation {
            Operation::Scale { .. } | Operation::Restart { .. } | Operation::RollBack { .. } => {
                Self::stated(operation)
            }
            _ => Self::NONE,
        }
    }

    /// Returns true if the operation changes the replicas or interrupts the target.
    pub(super) fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// Returns the effect of a request that nobody declared. A safe method (RFC 9110, section 9.2.1)
/// changes nothing. Any other request could do anything to the target.
fn of_request(request: &HttpRequest) -> Effect {
    let method = request.method.to_ascii_uppercase();
    if matches!(method.as_str(), "GET" | "HEAD") {
        Effect::NONE
    } else {
        Effect {
            undeclared: true,
            ..Effect::DRASTIC
        }
    }
}

fn of_patch(patch: &MergePatch, snapshot: Option<&Snapshot>) -> Effect {
    let Some(fields) = patch.patch.as_object() else {
        return Effect::DRASTIC;
    };
    let mut effect = Effect::NONE;
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("spec", Value::Object(spec)) => of_spec(spec, snapshot, &mut effect),
            ("metadata", Value::Object(metadata)) => {
                // The labels of a pod decide which service and which owner it belongs to.
                let pod = patch.target.kind == "Pod";
                let harmless = |name: &String| name == "annotations" || name == "labels" && !pod;
                effect.interrupts |= !metadata.keys().all(harmless);
            }
            ("spec", _) => effect = Effect::DRASTIC,
            ("replicas", value) if patch.target.kind == PROCESS_KIND => {
                effect.replicas = Some(number(value, 0));
            }
            // Among them the environment of a process group: its replicas are replaced.
            _ => effect.interrupts = true,
        }
    }
    effect
}

fn of_spec(spec: &Map<String, Value>, snapshot: Option<&Snapshot>, effect: &mut Effect) {
    for (name, value) in spec {
        match name.as_str() {
            // A missing number of replicas means 1 on Kubernetes.
            "replicas" => effect.replicas = Some(number(value, 1)),
            "paused" if *value == Value::Bool(true) => {}
            // A strategy with fewer replicas applies to a rollout that is in progress.
            "strategy" if snapshot.is_none_or(|snapshot| snapshot.rolling_out) => {
                effect.interrupts = true;
            }
            name if HARMLESS_FIELDS.contains(&name) => {}
            _ => effect.interrupts = true,
        }
    }
}

/// Returns a number of replicas, or 0 for a value that is none. `default` is the meaning of null.
fn number(value: &Value, default: u32) -> u32 {
    match value {
        Value::Null => default,
        value => value
            .as_u64()
            .and_then(|replicas| u32::try_from(replicas).ok())
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
