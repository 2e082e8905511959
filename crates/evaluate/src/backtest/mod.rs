//! Runs the whole pipeline over recorded metrics with simulated time, and reports the incidents,
//! the decisions and the operations that would have followed.
//!
//! Detectors, incidents, rules and guard are the parts that the service runs. An operation has no
//! effect on the recorded metrics, so an incident that continues after an operation counts as an
//! incident that the operation did not help.

mod data;
mod error;
mod feed;
mod report;
mod run;
mod setup;
mod trial;
mod trial_config;
mod world;

pub use data::{DataError, ReadFile, Recorded, RecordedData, of_files, of_history, of_prometheus};
pub use error::BacktestError;
pub use report::{Count, Incident, Outcome, Report, Tried, panels};
pub use run::run;
pub use setup::BacktestSetup;
pub use trial::{TrialLimits, detector_must_pass, must_pass, recorded};
pub use trial_config::TrialConfig;
