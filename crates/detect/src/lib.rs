//! Turns samples into incidents: a function of the messages on `metrics-topic` and of the times
//! recorded in them.
//!
//! **Invariant:** findings are dated by their samples, and incidents by the batches. The clock only
//! sets samples from the future aside, and lets time pass while no message arrives. This part does
//! no I/O except for its topics and the store of detector state. The detectors run on the threads
//! of the plugin host.

mod absence;
mod backfill;
mod batch;
mod checkpointer;
mod context;
mod correlator;
mod detector;
mod dropped;
mod engine;
mod feedback;
mod history;
mod incident_log;
mod pauses;
mod progress;
mod publish;
mod quarantine;
mod recorder;
mod replay_context;
mod restore;
mod series;
mod signal_state;
pub mod state_store;
mod warm_start;
mod warmup;

#[cfg(test)]
mod tests;

pub use backfill::Backfill;
pub use correlator::{IncidentConfig, IncidentCorrelator};
pub use dropped::{Dropped, DroppedCounters};
pub use engine::{Engine, EngineError};
pub use feedback::{Feedback, FeedbackError, Judged, Vote};
pub use incident_log::IncidentLog;
pub use progress::{EngineLag, EngineProgress};
pub use replay_context::re_evaluate;
pub use series::held_back;
pub use signal_state::DetectStatus;
pub use state_store::{StateStore, StateStoreConfig};
pub use warmup::Learning;
