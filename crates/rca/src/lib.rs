//! Scores the explainer on labelled recordings of faults.
//!
//! The loaders convert PetShop and Nezha into a world and symptoms. The scored function is
//! `anomalyzer_explain::explain`, unchanged. It sees no value that is newer than a stated delay
//! after the alarm.

mod case;
mod error;
mod nezha;
mod perturb;
mod petshop;
mod report;
mod run;
mod score;
mod series;
mod simulate;
mod table;

pub use case::Case;
pub use error::RcaError;
pub use report::{Calibration, RcaReport, Section};
pub use run::{Options, run};
pub use score::CaseScore;
