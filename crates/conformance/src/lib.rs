//! Conformance suite for plugins, behind `anomalyzer plugins test`. It checks requirements beyond
//! those that the host checks of each response.
//!
//! The suite uses a plugin as the host does, through the public API of [`anomalyzer_plugin_host`],
//! so that its results hold for the host. Its input is fixed: two runs on one file make the same
//! checks. Speed and memory are figures, not checks.

mod action;
mod detector;
mod report;
mod settings;
mod suite;
mod trial;

#[cfg(test)]
mod tests;

pub use report::{Check, Failure, Figure, Report};
pub use suite::examine;
pub use trial::Trial;
