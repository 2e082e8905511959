//! Malicious action for the tests of the host. Each file has one attack. The parameter `attack`
//! chooses it.

mod hidden_patch;
mod many_operations;
mod many_waits;
mod never_finish;
mod not_granted;
mod not_needed;
mod other_target;
mod spin_in_next;
mod trap_in_next;
mod wait_forever;

use std::cell::RefCell;

use anomalyzer_plugin_sdk::bindings::action::exports::anomalyzer::plugin::action as wit;
use anomalyzer_plugin_sdk::bindings::detector::anomalyzer::plugin::types::About;
use anomalyzer_plugin_sdk::{Error, Operation, Outcome, Step, Target, UnixMs};

/// One attack.
trait Attack {
    /// Returns the next step.
    fn next(&mut self, target: &Target, last: Outcome) -> Step;
}

fn begin(attack: &str) -> Option<Box<dyn Attack>> {
    Some(match attack {
        "hidden-patch" => Box::new(hidden_patch::HiddenPatch),
        "many-operations" => Box::new(many_operations::ManyOperations),
        "many-waits" => Box::new(many_waits::ManyWaits),
        "never-finish" => Box::<never_finish::NeverFinish>::default(),
        "not-granted" => Box::new(not_granted::NotGranted),
        "not-needed" => Box::new(not_needed::NotNeeded),
        "other-target" => Box::new(other_target::OtherTarget),
        "spin-in-next" => Box::new(spin_in_next::SpinInNext),
        "trap-in-next" => Box::new(trap_in_next::TrapInNext),
        "wait-forever" => Box::new(wait_forever::WaitForever),
        _ => return None,
    })
}

/// Asks for the only operation of an attack once, and ends with its outcome.
fn once(operation: Operation, last: Outcome) -> Step {
    match last {
        Outcome::Begin => Step::Perform(operation),
        Outcome::Denied(why) | Outcome::Failed(why) | Outcome::InDoubt(why) => Step::GaveUp(why),
        Outcome::Done(_) | Outcome::Waited => Step::Finished("it worked".to_owned()),
    }
}

/// The plugin.
pub struct Plugin;

impl wit::Guest for Plugin {
    type Run = Run;

    fn describe() -> wit::Description {
        let need = |operation: &str, scope: &str| wit::Need {
            operation: operation.to_owned(),
            scope: scope.to_owned(),
        };
        wit::Description {
            about: About {
                name: "evil-action".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                summary: "means harm".to_owned(),
                settings: r#"{"type": "object"}"#.to_owned(),
            },
            needs: vec![
                need("inspect", "*"),
                need("restart", "*"),
                need("scale", "*"),
                need("patch", "Process/metadata"),
            ],
        }
    }
}

/// The contract's `run`.
pub struct Run {
    target: Target,
    attack: RefCell<Box<dyn Attack>>,
}

impl wit::GuestRun for Run {
    fn open(incident: wit::Incident, parameters: String) -> Result<wit::Run, Error> {
        let parameters: anomalyzer_plugin_sdk::serde_json::Value =
            anomalyzer_plugin_sdk::serde_json::from_str(&parameters)
                .map_err(|error| Error::Invalid(error.to_string()))?;
        let attack = parameters["attack"].as_str().unwrap_or_default();
        let begun = begin(attack)
            .ok_or_else(|| Error::Invalid(format!("there is no attack `{attack}`")))?;
        let target = incident
            .target
            .ok_or_else(|| Error::Invalid("there is no target".to_owned()))?;
        Ok(wit::Run::new(Self {
            target,
            attack: RefCell::new(begun),
        }))
    }

    fn next(&self, _: UnixMs, last: Outcome) -> Result<Step, Error> {
        Ok(self.attack.borrow_mut().next(&self.target, last))
    }
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, missing_docs, unused_qualifications)]
mod exported_to_the_host {
    type Plugin = super::Plugin;
    anomalyzer_plugin_sdk::bindings::action::export_action_world!(
        Plugin with_types_in anomalyzer_plugin_sdk::bindings::action
    );
}
