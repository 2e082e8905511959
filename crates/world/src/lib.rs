//! The world: the known entities, their relations, their states and their changes.
//!
//! Streams of facts keep a [`World`] up to date, and `explain` reads it. The crate does no I/O and
//! reads no clock: every time is an argument. Iteration is ordered by key, so that two worlds with
//! equal facts give equal answers, whatever the order in which the facts arrived.

mod age;
mod bounds;
mod change;
mod edge;
mod entity;
mod names;
mod record;
mod sighting;
mod source;
mod state;
mod world;

pub use age::{Age, FADED_AFTER, GONE_AFTER};
pub use bounds::{Bounded, Bounds, Omitted};
pub use change::{CHANGES_PER_ENTITY, Change, ChangeKind};
pub use edge::{Edge, EdgeSighting, Relation};
pub use entity::{Entity, EntityId, EntityKey};
pub use names::Resolution;
pub use record::{EdgeRecord, NameRecord, WorldRecord};
pub use sighting::{Calls, Sighting};
pub use source::Source;
pub use state::{
    Condition, ConditionStatus, ContainerPhase, ContainerState, EventFact, ReplicaCounts, State,
};
pub use world::{World, WorldError};
