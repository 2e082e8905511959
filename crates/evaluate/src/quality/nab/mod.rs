//! The Numenta Anomaly Benchmark: Lavin & Ahmad, "Evaluating Real-Time Anomaly Detection
//! Algorithms" (2015). This is an independent implementation of the published rules.

mod corpus;
mod report;
mod score;
mod sweep;

pub use corpus::{Corpus, Labelled, Scored};
pub use report::{At, FileReport, Report};
pub use score::{PROFILES, Profile, Series, Tally, Window, probation};
pub use sweep::best;

/// Threshold of a detector as shipped. Its scores are scaled so that the threshold is 1.
pub const SHIPPED: f64 = 1.0;
