//! Inverse of an operation: the operation that restores the state before it.

use serde_json::Value;

use anomalyzer_domain::{MergePatch, Operation, OperationRecord};
use anomalyzer_operator::merge_patch;
use anomalyzer_policy::Effect;

/// Reads the number of replicas from the state that an operator reported.
fn replicas(value: Option<&Value>) -> Option<u32> {
    let value = value?;
    let replicas = value
        .get("replicas")
        .or_else(|| value.pointer("/spec/replicas"))?;
    replicas
        .as_u64()
        .and_then(|replicas| u32::try_from(replicas).ok())
}

/// Returns the operation that restores the state before `record`. The error says why there is none.
pub(super) fn inverse(record: &OperationRecord) -> Result<Operation, String> {
    let unknown = || format!("what was there before {} is not known", record.kind);
    match &record.operation {
        Operation::Scale {
            target,
            replicas: to,
        } => {
            let before = replicas(record.before.as_ref()).ok_or_else(unknown)?;
            if before == *to {
                return Err("it changed nothing".to_owned());
            }
            Ok(Operation::Scale {
                target: target.clone(),
                replicas: before,
            })
        }
        Operation::Patch(MergePatch { target, .. }) | Operation::RollBack { target } => {
            let patch = record
                .before
                .clone()
                .filter(Value::is_object)
                .ok_or_else(unknown)?;
            if record.after.as_ref().is_some_and(|after| {
                merge_patch::between(&patch, after) == Value::Object(Default::default())
            }) {
                return Err("it changed nothing".to_owned());
            }
            Ok(Operation::Patch(MergePatch {
                target: target.clone(),
                patch,
            }))
        }
        other => Err(format!("{} can't be taken back", other.kind())),
    }
}

/// Returns true if the inverse leaves fewer replicas than there are now.
pub(super) fn takes_capacity(record: &OperationRecord, inverse: &Operation) -> bool {
    let replicas = |operation| Effect::stated(operation).replicas;
    replicas(&record.operation)
        .zip(replicas(inverse))
        .is_some_and(|(now, before)| before < now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use anomalyzer_domain::testing;

    /// Returns the record of a patch that changed the target from `before` to `after`.
    fn patched(before: Value, after: Value) -> OperationRecord {
        let operation = Operation::Patch(MergePatch {
            target: testing::web(),
            patch: after.clone(),
        });
        OperationRecord {
            done_at: Some(0),
            before: Some(before),
            after: Some(after),
            ..testing::operation_record("op-1", operation)
        }
    }

    #[test]
    fn a_patch_that_added_replicas_takes_capacity_when_it_is_taken_back() {
        let replicas = |replicas: u32| json!({"spec": {"replicas": replicas}});
        let template = |image: &str| json!({"spec": {"template": {"image": image}}});
        for (before, after, takes) in [
            (replicas(2), replicas(4), true),
            (replicas(4), replicas(2), false),
            (template("a"), template("b"), false),
        ] {
            let record = patched(before, after);
            let inverse = inverse(&record).unwrap();
            assert_eq!(takes_capacity(&record, &inverse), takes, "{inverse:?}");
        }
    }
}
