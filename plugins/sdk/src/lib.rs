//! SDK for detectors and actions.
//!
//! A detector implements [`Detector`] and calls [`export_detector!`]. A detector whose state must
//! outlive a restart also implements [`StatefulDetector`], and calls [`export_stateful_detector!`]
//! instead. An action implements [`Action`] and calls [`export_action!`]. All of them are ordinary
//! Rust: [`mod@test`] runs them natively, without WebAssembly. The contract itself is
//! `wit/plugin.wit`. The code that is generated from it is in [`bindings`].
#![doc = ""]
#![doc = include_str!("../README.md")]

pub mod bindings;

mod action;
mod check;
mod detector;
mod episode;
mod export;
mod figure;
mod incident;
mod log;
mod log_lines;
mod operation;
mod parse;
mod plan;
mod run;
mod saved;
pub mod scaling;
mod series_table;
mod stateful;
pub mod test;
mod utc;
mod watch;

pub use action::{Action, Need};
#[doc(hidden)]
pub use anomalyzer_plugin_sdk_stateless as stateless;
pub use bindings::action::exports::anomalyzer::plugin::action::{
    HttpRequest, LogRequest, MergePatch, Notice, Operation, Outcome, ScaleTo, Step,
};
pub use bindings::detector::anomalyzer::plugin::types::{Error, Target};
pub use bindings::detector::exports::anomalyzer::plugin::detector::{Frame, Range, Verdict};
pub use check::{above_zero, within};
pub use detector::{About, Change, Detector, Direction, Observation, Phase};
pub use episode::{Episode, Rule, Told};
#[doc(hidden)]
pub use export::Exported;
pub use figure::figure;
pub use incident::{Diagnosis, Expected, Finding, Incident, Pod, Replicas, Snapshot};
pub use log::{debug, error, info, warn};
pub use log_lines::LogLines;
pub use operation::in_words;
pub use plan::{Plan, Steps};
pub use run::Run;
pub use saved::Saved;
pub use schemars;
pub use serde;
pub use serde_json;
pub use stateful::StatefulDetector;
pub use utc::utc;
pub use watch::Watch;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type UnixMs = i64;
