//! Entities: the parts of the world.

use std::collections::BTreeMap;

use anomalyzer_domain::{Target, UnixMs};
use serde::{Deserialize, Serialize};

use crate::sighting::Sighting;
use crate::source::Source;
use crate::state::State;

/// Key of an entity: cluster, namespace, kind and name. The target of an incident is the key of an
/// entity, so no translation lies between the two.
pub type EntityKey = Target;

/// Number of an entity inside one [`World`](crate::World). It is stable until the entity is
/// forgotten, and has no meaning outside of that world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityId(pub(crate) u32);

impl EntityId {
    /// Returns the number as an index below [`World::id_bound`](crate::World::id_bound).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A service, workload, replica, node, zone, autoscaler, configuration object, outside host or
/// process group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    /// Key of the entity.
    pub key: EntityKey,
    /// Newest known state.
    #[serde(default)]
    pub state: State,
    /// Sources that know the entity, with first and last sight.
    #[serde(default)]
    pub sources: BTreeMap<Source, Sighting>,
}

impl Entity {
    /// Returns an entity without facts.
    pub fn new(key: EntityKey) -> Self {
        Self {
            key,
            state: State::default(),
            sources: BTreeMap::new(),
        }
    }

    /// Returns the time of the newest sight by any source; `None` if no source saw it.
    pub fn last_seen(&self) -> Option<UnixMs> {
        self.sources.values().map(|sight| sight.last_seen).max()
    }
}
