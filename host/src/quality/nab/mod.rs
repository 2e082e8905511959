//! The Numenta Anomaly Benchmark: Lavin & Ahmad, "Evaluating Real-Time Anomaly Detection
//! Algorithms" (2015). Our own implementation, of its rules as they are published.

mod corpus;
mod report;
mod score;
mod sweep;

pub use corpus::{Corpus, Labelled};
pub use report::{At, FileReport, Report};
pub use score::{PROFILES, Profile, Series, Tally, Window, probation};
pub use sweep::best;

/// A detector's own threshold: its scores are scaled so that it is 1.
pub const SHIPPED: f64 = 1.0;
