//! Results of a trial.

use serde::Serialize;

use anomalyzer_domain::PluginKind;
use anomalyzer_plugin_host::{PluginError, PluginInfo};

/// All checks and measurements of one plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Name that the plugin declares.
    pub plugin: String,
    /// Version of the plugin.
    pub version: String,
    /// Kind of the plugin.
    pub kind: Option<PluginKind>,
    /// SHA-256 of the plugin's file, in hex.
    pub digest: String,
    /// Checks in the order of their execution.
    pub checks: Vec<Check>,
    /// Speed and memory on this machine.
    pub figures: Vec<Figure>,
    /// Further remarks for the reader.
    pub notes: Vec<String>,
}

/// One requirement of every plugin, with its result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Short name of the check.
    pub name: &'static str,
    /// Statement that must hold.
    pub about: &'static str,
    /// True if the statement holds.
    pub ok: bool,
    /// Failure, if the statement does not hold.
    #[serde(flatten)]
    pub failure: Option<Failure>,
}

/// Description of a failed check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Observed behaviour.
    pub found: String,
    /// Input on which it was observed.
    #[serde(rename = "where")]
    pub place: String,
    /// Advice to the author of the plugin.
    pub remedy: String,
}

/// A measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Name of the measurement.
    pub name: &'static str,
    /// Measured value.
    pub value: f64,
    /// Unit of the value.
    pub unit: &'static str,
}

impl Report {
    /// Creates an empty report.
    pub(super) fn new(plugin: &PluginInfo) -> Self {
        Self {
            plugin: plugin.name.clone(),
            version: plugin.version.clone(),
            kind: plugin.kind,
            digest: plugin.digest.clone(),
            checks: Vec::new(),
            figures: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Records a check. Returns true if it passed.
    pub(super) fn check(
        &mut self,
        name: &'static str,
        about: &'static str,
        outcome: Result<(), Failure>,
    ) -> bool {
        let failure = outcome.err();
        let ok = failure.is_none();
        self.checks.push(Check {
            name,
            about,
            ok,
            failure,
        });
        ok
    }

    pub(super) fn figure(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.figures.push(Figure { name, value, unit });
    }

    /// Returns true if every check passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }
}

impl Failure {
    pub(super) fn new(
        found: impl Into<String>,
        place: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            found: found.into(),
            place: place.into(),
            remedy: remedy.into(),
        }
    }

    /// Converts the error of a call that should have succeeded.
    pub(super) fn of(error: &PluginError, place: impl Into<String>) -> Self {
        let remedy = match error {
            PluginError::Trap { .. } => {
                "a panic, an overflow or memory out of bounds: run the same input natively, with the SDK's `test` module, \
                 to see where"
            }
            PluginError::Deadline { .. } => {
                "do less in one call: what takes longer than that is stopped by the host"
            }
            PluginError::Limit { .. } => {
                "hold less: keep figures of the past instead of the past itself"
            }
            PluginError::Contract { .. } => "return what `wit/plugin.wit` says of this call",
            PluginError::Invalid(_) => {
                "these settings should do: give others with --settings, or accept them"
            }
            PluginError::Failed(_) | PluginError::Unsupported(_) => {
                "the contract allows this input: answer it with a verdict or a step"
            }
            _ => "this is about the host: try again, and report it if it stays",
        };
        Self::new(error.to_string(), place, remedy)
    }
}

/// Returns true if the guest returned the error properly, with its instance unchanged.
pub(super) fn is_guest_error(error: &PluginError) -> bool {
    matches!(
        error,
        PluginError::Invalid(_) | PluginError::Unsupported(_) | PluginError::Failed(_)
    )
}
