//! Runs an action: tells it the outcome of its last step, and returns its next step.

use std::sync::Arc;

use serde_json::Value;
use wasmtime::component::ResourceAny;

use super::bindings::action::{
    ActionPlugin, ActionPluginPre,
    exports::anomalyzer::plugin::action::{
        Custom, Incident as GuestIncident, LogRequest as GuestLogRequest, Notice as GuestNotice,
        Operation as GuestOperation, Outcome as GuestOutcome, ScaleTo, Step as GuestStep,
    },
};
use super::bindings::types::Target as GuestTarget;
use super::error::PluginError;
use super::instance::Instance;
use super::runtime::{OPENING_BYTES, Runtime};
use super::sandbox::State;
use super::stats::Stats;
use super::text::{one_line, several_lines};
use anomalyzer_domain::{HttpRequest, LogRequest, MergePatch, Notice, Operation, Target, UnixMs};

/// Maximum size of the data that an action may hand to the host in one step, in bytes. An HTTP body
/// is the largest of that data.
const STEP_BYTES: usize = 2 << 20;

/// Names that a `custom` operation may not take, because grants and records use these names.
const BUILT_IN: [&str; 9] = [
    "inspect",
    "read_logs",
    "query",
    "scale",
    "restart",
    "roll_back",
    "patch",
    "http",
    "notify",
];

/// Incident as it is shown to an action.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionIncident {
    /// Id of the incident.
    pub id: String,
    /// Target of the incident.
    pub target: Option<Target>,
    /// State of the target at the time when the solution was allowed.
    pub snapshot: Value,
    /// Findings of the incident.
    pub findings: Value,
    /// Diagnosis of the incident.
    pub diagnosis: Value,
}

/// Outcome of an action's last step.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionOutcome {
    /// There was no step yet.
    Begin,
    /// The requested time has passed.
    Waited,
    /// The operation returned this value. In a dry run, this is the value that it is expected to
    /// return.
    Done(Value),
    /// The grants, the guard or a person denied the operation.
    Denied(String),
    /// The operation was tried and did not happen.
    Failed(String),
    /// The operation was tried, and nobody can tell if it happened.
    InDoubt(String),
}

/// Next step that an action asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionStep {
    /// Perform this operation.
    Perform(Operation),
    /// Ask the action again after this number of milliseconds.
    WaitMs(u32),
    /// The action is finished.
    Finished(String),
    /// The action can't go on.
    GaveUp(String),
}

/// Action that is ready to be opened.
pub(super) struct Action {
    pub(super) name: Arc<str>,
    pub(super) version: String,
    pub(super) digest: String,
    pub(super) pre: ActionPluginPre<State>,
    pub(super) runtime: Arc<Runtime>,
}

/// One run of an action. After an error that lost the instance, every call returns
/// [`PluginError::Lost`].
pub(super) struct Run {
    plugin: Arc<Action>,
    instance: Instance<Guest>,
}

struct Guest {
    exports: ActionPlugin,
    run: ResourceAny,
}

impl Run {
    /// Opens a run in a store of its own.
    pub(super) fn open(
        plugin: Arc<Action>,
        incident: &ActionIncident,
        parameters: &Value,
    ) -> Result<Self, PluginError> {
        let stats = plugin.runtime.stats.of(&plugin.name);
        let opened = Self::try_open(plugin, incident, parameters);
        note(&stats, opened.as_ref().err(), false);
        opened
    }

    fn try_open(
        plugin: Arc<Action>,
        incident: &ActionIncident,
        parameters: &Value,
    ) -> Result<Self, PluginError> {
        let parameters = parameters.to_string();
        let deadline = plugin.runtime.limits.describe_deadline;
        let mut sandbox = plugin.runtime.sandbox(plugin.name.clone());
        let exports = sandbox.call("instantiate", deadline, OPENING_BYTES, |store| {
            plugin.pre.instantiate(store)
        })?;
        let shown = GuestIncident {
            id: incident.id.clone(),
            target: incident.target.clone().map(|target| GuestTarget {
                cluster: target.cluster,
                namespace: target.namespace,
                kind: target.kind,
                name: target.name,
            }),
            snapshot: incident.snapshot.to_string(),
            findings: incident.findings.to_string(),
            diagnosis: incident.diagnosis.to_string(),
        };
        let run = sandbox
            .call("open", deadline, OPENING_BYTES, |store| {
                exports
                    .anomalyzer_plugin_action()
                    .run()
                    .call_open(store, &shown, &parameters)
            })?
            .map_err(PluginError::from_guest)?;
        let guest = Guest { exports, run };
        Ok(Self {
            instance: Instance::new(plugin.name.clone(), sandbox, guest),
            plugin,
        })
    }

    /// Tells the action the outcome of its last step, and returns its next step.
    pub(super) fn next(
        &mut self,
        now: UnixMs,
        last: &ActionOutcome,
    ) -> Result<ActionStep, PluginError> {
        let step = self.step(now, last);
        let ended = matches!(step, Ok(ActionStep::Finished(_) | ActionStep::GaveUp(_)));
        note(
            &self.plugin.runtime.stats.of(&self.plugin.name),
            step.as_ref().err(),
            ended,
        );
        step
    }

    fn step(&mut self, now: UnixMs, last: &ActionOutcome) -> Result<ActionStep, PluginError> {
        let last = match last {
            ActionOutcome::Begin => GuestOutcome::Begin,
            ActionOutcome::Waited => GuestOutcome::Waited,
            ActionOutcome::Done(result) => GuestOutcome::Done(result.to_string()),
            ActionOutcome::Denied(why) => GuestOutcome::Denied(why.clone()),
            ActionOutcome::Failed(why) => GuestOutcome::Failed(why.clone()),
            ActionOutcome::InDoubt(why) => GuestOutcome::InDoubt(why.clone()),
        };
        self.instance.call(
            "next",
            self.plugin.runtime.limits.call_deadline,
            STEP_BYTES,
            |store, Guest { exports, run }| {
                exports
                    .anomalyzer_plugin_action()
                    .run()
                    .call_next(store, *run, now, &last)
            },
            checked,
        )
    }
}

/// Counts a fault, or the end of a run.
fn note(stats: &Stats, error: Option<&PluginError>, ended: bool) {
    match error {
        Some(error) if error.is_fault() => {
            let reason = error.to_string();
            stats.fault(&reason);
            stats.run_ended(Some(&reason));
            if stats.quarantine_reason().is_some() {
                stats.begin_quiet_time(error.is_overrun());
            }
        }
        Some(_) => {}
        None if ended => stats.run_ended(None),
        None => {}
    }
}

/// Converts a guest's step. Returns an error if the step breaks the contract.
fn checked(step: GuestStep) -> Result<ActionStep, String> {
    const MAX_MESSAGE_BYTES: usize = 4096;
    Ok(match step {
        GuestStep::Perform(wanted) => ActionStep::Perform(operation(wanted)?),
        GuestStep::WaitMs(ms) => ActionStep::WaitMs(ms),
        GuestStep::Finished(message) => ActionStep::Finished(one_line(&message, MAX_MESSAGE_BYTES)),
        GuestStep::GaveUp(message) => ActionStep::GaveUp(one_line(&message, MAX_MESSAGE_BYTES)),
    })
}

fn operation(wanted: GuestOperation) -> Result<Operation, String> {
    Ok(match wanted {
        GuestOperation::Inspect(of) => Operation::Inspect {
            target: target(of)?,
        },
        GuestOperation::ReadLogs(GuestLogRequest {
            target: of,
            lines,
            previous,
        }) => Operation::ReadLogs(LogRequest {
            target: target(of)?,
            lines,
            previous,
        }),
        GuestOperation::Query(query) => Operation::Query { query },
        GuestOperation::Scale(ScaleTo {
            target: of,
            replicas,
        }) => Operation::Scale {
            target: target(of)?,
            replicas,
        },
        GuestOperation::Restart(of) => Operation::Restart {
            target: target(of)?,
        },
        GuestOperation::RollBack(of) => Operation::RollBack {
            target: target(of)?,
        },
        GuestOperation::Patch(wanted) => {
            let patch = json("patch", &wanted.patch)?;
            if !patch.is_object() {
                return Err(
                    "a merge patch that is not an object would replace the whole target".to_owned(),
                );
            }
            Operation::Patch(MergePatch {
                target: target(wanted.target)?,
                patch,
            })
        }
        GuestOperation::Http(request) => Operation::Http(HttpRequest {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
        }),
        GuestOperation::Notify(GuestNotice {
            channel,
            title,
            text,
        }) => Operation::Notify(Notice {
            channel: one_line(&channel, 64),
            title: one_line(&title, 512),
            text: several_lines(&text, 16 << 10),
        }),
        GuestOperation::Custom(Custom { name, arguments }) => {
            let proper =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
            if name.is_empty()
                || name.len() > 63
                || !name.chars().all(proper)
                || BUILT_IN.contains(&&*name.replace('-', "_"))
            {
                return Err(format!(
                    "`{}` can't be the name of a custom operation",
                    one_line(&name, 64)
                ));
            }
            Operation::Custom {
                name,
                arguments: json("arguments", &arguments)?,
            }
        }
    })
}

/// Converts a guest's target. Refuses parts that would read differently as text, because the guard
/// and the record identify targets by their path.
fn target(of: GuestTarget) -> Result<Target, String> {
    let GuestTarget {
        cluster,
        namespace,
        kind,
        name,
    } = of;
    for (what, part, may_be_empty) in [
        ("cluster", &cluster, false),
        ("namespace", &namespace, true),
        ("kind", &kind, false),
        ("name", &name, false),
    ] {
        let proper = part
            .chars()
            .all(|c| c != '/' && !c.is_control() && !c.is_whitespace());
        if part.len() > 253 || !proper || (part.is_empty() && !may_be_empty) {
            return Err(format!(
                "`{}` can't be the {what} of a target",
                one_line(part, 64)
            ));
        }
    }
    Ok(Target {
        cluster,
        namespace,
        kind,
        name,
    })
}

fn json(what: &str, text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("the {what} is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::bindings::action::exports::anomalyzer::plugin::action::MergePatch as GuestPatch;
    use super::*;

    fn web() -> GuestTarget {
        GuestTarget {
            cluster: "default".into(),
            namespace: "shop".into(),
            kind: "Deployment".into(),
            name: "web".into(),
        }
    }

    #[test]
    fn an_operation_keeps_what_was_asked_for() {
        let scale = GuestOperation::Scale(ScaleTo {
            target: web(),
            replicas: 4,
        });
        let expected = Operation::Scale {
            target: Target::new("shop", "Deployment", "web"),
            replicas: 4,
        };
        assert_eq!(operation(scale).unwrap(), expected);
        let patch = GuestOperation::Patch(GuestPatch {
            target: web(),
            patch: r#"{"spec":{"paused":true}}"#.into(),
        });
        let Operation::Patch(patch) = operation(patch).unwrap() else {
            panic!("not a patch")
        };
        assert_eq!(patch.patch, json!({"spec": {"paused": true}}));
    }

    #[test]
    fn a_patch_that_is_no_json_object_is_refused() {
        for (text, why) in [
            ("{\"a\":", "not JSON"),
            ("null", "whole target"),
            ("[]", "whole target"),
        ] {
            let wanted = GuestOperation::Patch(GuestPatch {
                target: web(),
                patch: text.into(),
            });
            assert!(operation(wanted).unwrap_err().contains(why), "{text}");
        }
        let nested = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        assert!(
            operation(GuestOperation::Patch(GuestPatch {
                target: web(),
                patch: nested
            }))
            .is_err()
        );
    }

    #[test]
    fn a_custom_operation_cannot_pass_for_a_built_in_one() {
        let custom = |name: &str| {
            operation(GuestOperation::Custom(Custom {
                name: name.to_owned(),
                arguments: "{}".to_owned(),
            }))
        };
        for name in BUILT_IN
            .into_iter()
            .chain(["", "Scale", "a b", "roll-back"])
        {
            assert!(custom(name).is_err(), "{name}");
        }
        assert_eq!(
            custom("drain").unwrap(),
            Operation::Custom {
                name: "drain".to_owned(),
                arguments: json!({})
            }
        );
    }

    #[test]
    fn a_target_that_would_read_differently_as_text_is_refused() {
        for bad in ["", "web/../db", "web\n", "w b"] {
            let wanted = GuestOperation::Restart(GuestTarget {
                name: bad.to_owned(),
                ..web()
            });
            assert!(operation(wanted).is_err(), "{bad:?}");
        }
        let process = GuestTarget {
            namespace: String::new(),
            kind: "Process".into(),
            ..web()
        };
        assert!(operation(GuestOperation::Restart(process)).is_ok());
    }
}
