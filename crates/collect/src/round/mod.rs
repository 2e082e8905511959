//! One round of a signal: the answers of its sources, and the batches published from them.

mod answer;
mod batch_builder;
mod open_series;
mod wall_clock;

pub use answer::{Answer, Intake, TargetSeries};
pub use batch_builder::{BatchBuilder, MAX_SHOWN_LABELS, PublishBounds};
