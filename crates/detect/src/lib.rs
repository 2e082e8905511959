//! From samples to incidents: a function of what arrives on `metrics-topic`, with the time recorded
//! there. No clock, no I/O but the two topics; the detectors run on the plugin host's own threads.

mod begin;
mod detector;
mod engine;
mod feedback;
mod history;
mod incidents;
mod keeping;
mod known;
mod learning;
pub mod memory;
mod overlooked;
mod quarantine;
mod recalled;
mod series;
mod silence;
mod watched;
mod witness;

#[cfg(test)]
mod tests;

pub use engine::{Backfill, Engine, EngineError};
pub use feedback::{Feedback, FeedbackError, Judged, Vote};
pub use incidents::{IncidentBook, IncidentConfig};
pub use known::KnownIncidents;
pub use learning::Learning;
pub use memory::{Memory, MemoryConfig};
pub use overlooked::Overlooked;
pub use series::held_back;
pub use watched::DetectStatus;
pub use witness::testify;
