//! Finds the root of open incidents.
//!
//! [`explain`] is a pure function of a world, of symptoms and of changes. It uses no clock, no I/O
//! and no randomness, so a decision that records its input can be replayed. Each step is a file:
//! loss, own loss, join, shared fate, causes, rank, confidence, wording.

mod cause;
mod causes;
mod changes;
mod confidence;
mod evidence;
mod explain;
mod family;
mod flow;
mod graph;
mod group;
mod guess;
mod hard_signs;
mod imputation;
mod input;
mod join;
mod limits;
mod loss;
mod network;
mod numbers;
mod output;
mod own_loss;
mod rank;
mod round;
mod shared_fate;
mod shares;
mod signs;
mod wording;

pub use changes::SUSPECT_WINDOW;
pub use explain::explain;
pub use family::Family;
pub use input::{
    CallMeasure, LogPattern, Measure, Observation, OpenIncident, Resource, ResourceKind, Symptoms,
    Usual, Window,
};
pub use limits::Limits;
pub use output::{
    Advice, Alone, AloneReason, ChangeSuspect, EvidenceItem, Explanation, Gap, Group, GuessedCall,
    Member, NotSeen, RootKind, RootLoss, RunnerUp, Weight,
};
