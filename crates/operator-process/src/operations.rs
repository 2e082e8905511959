//! Applies an operation to the desired state of a group. This is a pure function.

use serde_json::{Value, json};

use super::config::GroupConfig;
use super::environment::{self, Overlay};
use super::state::Wanted;
use anomalyzer_domain::{Operation, OperationId};
use anomalyzer_operator::{OperatorError, Performed, merge_patch};

/// Returns the desired state after `operation`, and the report of the operation. Refuses a number
/// of replicas outside the configured bounds.
pub fn apply(
    name: &str,
    config: &GroupConfig,
    wanted: &Wanted,
    id: &OperationId,
    operation: &Operation,
) -> Result<(Wanted, Performed), OperatorError> {
    let mut next = Wanted {
        generation: wanted.generation.saturating_add(1),
        last_operation: Some(id.to_string()),
        ..wanted.clone()
    };
    let (before, after) = match operation {
        Operation::Scale { replicas, .. } => {
            if !(config.min_replicas..=config.max_replicas).contains(replicas) {
                return Err(OperatorError::Refused(format!(
                    "process group {name} may have {} to {} replicas, not {replicas}: change min_replicas or max_replicas",
                    config.min_replicas, config.max_replicas
                )));
            }
            next.replicas = *replicas;
            (
                json!({ "replicas": wanted.replicas }),
                json!({ "replicas": replicas }),
            )
        }
        Operation::Restart { .. } => {
            next.revision = wanted.revision.saturating_add(1);
            (
                json!({ "revision": wanted.revision }),
                json!({ "revision": next.revision }),
            )
        }
        Operation::Patch(patch) => {
            let overlay = environment::patched(&wanted.environment, &patch.patch)
                .map_err(OperatorError::Refused)?;
            let before = merge_patch::inverse(&object(config, &wanted.environment), &patch.patch);
            change_environment(&mut next, overlay);
            (before, patch.patch.clone())
        }
        Operation::RollBack { .. } => {
            let Some(overlay) = wanted.previous_environment.clone() else {
                return Err(OperatorError::Refused(format!(
                    "process group {name} has no environment before this one: it was never patched"
                )));
            };
            let (old, new) = (
                object(config, &wanted.environment),
                object(config, &overlay),
            );
            change_environment(&mut next, overlay);
            (
                merge_patch::between(&new, &old),
                merge_patch::between(&old, &new),
            )
        }
        other => {
            return Err(OperatorError::Unsupported(format!(
                "a process group cannot do `{}`",
                other.kind()
            )));
        }
    };
    let version = Some(next.version());
    Ok((
        next,
        Performed {
            result: after.clone(),
            before: Some(before),
            after: Some(after),
            version,
        },
    ))
}

fn change_environment(next: &mut Wanted, overlay: Overlay) {
    next.revision = next.revision.saturating_add(1);
    next.previous_environment = Some(std::mem::replace(&mut next.environment, overlay));
}

fn object(config: &GroupConfig, overlay: &Overlay) -> Value {
    environment::as_object(&environment::effective(&config.environment, overlay))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::MergePatch;
    use anomalyzer_domain::testing::{self, web_process};

    fn config() -> GroupConfig {
        let mut config = GroupConfig::new(vec!["web".into()], 8000);
        config.environment.insert("MODE".into(), "fast".into());
        config
    }

    fn perform(
        wanted: &Wanted,
        id: &str,
        operation: &Operation,
    ) -> Result<(Wanted, Performed), OperatorError> {
        apply("web", &config(), wanted, &OperationId::from(id), operation)
    }

    #[test]
    fn scaling_leaves_the_mark_and_a_new_version_but_restarts_nothing() {
        let (next, performed) = perform(
            &Wanted::default(),
            "op-1",
            &testing::scale(web_process(), 3),
        )
        .unwrap();
        assert_eq!((next.replicas, next.generation, next.revision), (3, 1, 0));
        assert_eq!(next.last_operation.as_deref(), Some("op-1"));
        assert_eq!(performed.before, Some(json!({"replicas": 0})));
    }

    #[test]
    fn scaling_out_of_the_configured_bounds_is_refused() {
        for replicas in [0, 11] {
            let refused = perform(
                &Wanted::default(),
                "op-1",
                &Operation::Scale {
                    target: web_process(),
                    replicas,
                },
            );
            assert!(matches!(refused, Err(OperatorError::Refused(_))));
        }
    }

    #[test]
    fn a_patch_says_how_to_take_it_back_and_a_roll_back_does() {
        let patch = json!({"environment": {"MODE": "slow", "LIMIT": "5"}});
        let patch = Operation::Patch(MergePatch {
            target: web_process(),
            patch,
        });
        let (patched, performed) = perform(&Wanted::default(), "op-1", &patch).unwrap();
        assert_eq!(
            performed.before,
            Some(json!({"environment": {"MODE": "fast", "LIMIT": null}}))
        );
        let (back, performed) = perform(
            &patched,
            "op-2",
            &Operation::RollBack {
                target: web_process(),
            },
        )
        .unwrap();
        assert_eq!(back.environment, Overlay::new());
        assert_eq!(
            performed.after,
            Some(json!({"environment": {"MODE": "fast", "LIMIT": null}}))
        );
        assert_eq!(back.revision, 2);
    }

    #[test]
    fn there_is_nothing_to_roll_back_to_before_the_first_patch() {
        let refused = perform(
            &Wanted::default(),
            "op-1",
            &Operation::RollBack {
                target: web_process(),
            },
        );
        assert!(matches!(refused, Err(OperatorError::Refused(_))));
    }
}
