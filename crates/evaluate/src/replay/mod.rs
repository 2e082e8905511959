//! Replays a decision from its record. The findings, the diagnosis and the verdicts of the guard
//! follow from the recorded inputs, on any machine. A replay with another detector, model or policy
//! shows the differences.

mod component;
mod detect;
mod diagnose;
mod error;
mod guard;
mod options;
mod run;
mod step;

pub use error::ReplayError;
pub use options::{Analyst, Instead, PluginSource};
pub use run::replay;
pub use step::{Came, Stage, Step};
