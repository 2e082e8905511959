//! What came of a trial.

use serde::Serialize;

use crate::domain::PluginKind;
use crate::plugin::{PluginError, PluginInfo};

/// Everything that was checked and measured of one plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What it calls itself.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// What it is.
    pub kind: Option<PluginKind>,
    /// SHA-256 of its file, in hex.
    pub digest: String,
    /// In the order in which they were made.
    pub checks: Vec<Check>,
    /// Speed and memory, on this machine.
    pub figures: Vec<Figure>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// One thing that every plugin must do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// A short name.
    pub name: &'static str,
    /// What must hold.
    pub about: &'static str,
    /// Whether it does.
    pub ok: bool,
    /// How it does not.
    #[serde(flatten)]
    pub failure: Option<Failure>,
}

/// How a plugin failed a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What was seen.
    pub found: String,
    /// On which input.
    #[serde(rename = "where")]
    pub place: String,
    /// What to do about it.
    pub remedy: String,
}

/// Something measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What.
    pub name: &'static str,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
}

impl Report {
    /// An empty one.
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

    /// Puts a check on record, and says whether it held.
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

    /// Whether every check held.
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

    /// A call that should have been answered was not.
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

/// Whether an answer that is an error is one that the guest gave in a proper way, its instance
/// being as it was.
pub(super) fn is_said(error: &PluginError) -> bool {
    matches!(
        error,
        PluginError::Invalid(_) | PluginError::Unsupported(_) | PluginError::Failed(_)
    )
}
