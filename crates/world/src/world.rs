//! The world itself: a table of entities and a table of edges.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use anomalyzer_domain::{TargetPartError, UnixMs};
use serde::{Deserialize, Serialize};

use crate::age::{Age, GONE_AFTER};
use crate::change::{CHANGES_PER_ENTITY, Change};
use crate::edge::{Edge, EdgeSighting, Relation};
use crate::entity::{Entity, EntityId, EntityKey};
use crate::names::{Names, Resolution};
use crate::record::{EdgeRecord, NameRecord, WorldRecord};
use crate::sighting::{Calls, Sighting};
use crate::source::Source;
use crate::state::State;

/// Maximum number of steps from a replica to its top owner.
const MAX_OWNERS: usize = 8;

/// Error of a fact that cannot be taken into the world.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// The key is not usable.
    #[error("the entity has no usable key: {0}")]
    Key(#[from] TargetPartError),
    /// The edge leads from an entity to itself.
    #[error("{0} has an edge to itself: an edge joins two entities")]
    Loop(EntityKey),
}

/// Known entities, relations, states and changes.
///
/// Entities and edges have no bound here: the streams that feed a world bound themselves, and
/// [`World::bounded`] cuts a part out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "WorldRecord", into = "WorldRecord")]
pub struct World {
    ids: BTreeMap<EntityKey, EntityId>,
    slots: Vec<Option<Entity>>,
    free: Vec<EntityId>,
    edges: BTreeMap<(EntityId, EntityId, Relation), Edge>,
    names: Names,
    changes: BTreeMap<EntityKey, BTreeSet<(UnixMs, Change)>>,
}

/// Two worlds are equal if their facts are equal, whatever their ids.
impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        WorldRecord::from(self.clone()) == WorldRecord::from(other.clone())
    }
}

impl World {
    /// Returns an empty world.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records that `source` saw an entity at `at`.
    ///
    /// # Errors
    /// Returns an error if the key has an empty, hidden or too long part.
    pub fn observe(
        &mut self,
        key: &EntityKey,
        source: Source,
        at: UnixMs,
    ) -> Result<EntityId, WorldError> {
        key.check()?;
        let id = self.id_or_new(key);
        if let Some(entity) = self.slot_mut(id) {
            entity
                .sources
                .entry(source)
                .or_insert_with(|| Sighting::new(at))
                .add(at, Calls::Unknown);
        }
        Ok(id)
    }

    /// Replaces the state of an entity, which becomes known if it was not.
    ///
    /// # Errors
    /// Returns an error if the key has an empty, hidden or too long part.
    pub fn set_state(&mut self, key: &EntityKey, mut state: State) -> Result<(), WorldError> {
        key.check()?;
        state.bound();
        let id = self.id_or_new(key);
        if let Some(entity) = self.slot_mut(id) {
            entity.state = state;
        }
        Ok(())
    }

    /// Records a sight of an edge. Both ends become known.
    ///
    /// # Errors
    /// Returns an error if a key is not usable, or if the edge leads to its own beginning.
    pub fn observe_edge(&mut self, sight: EdgeSighting) -> Result<(), WorldError> {
        if sight.from == sight.to {
            return Err(WorldError::Loop(sight.from));
        }
        let from = self.observe(&sight.from, sight.source, sight.at)?;
        let to = self.observe(&sight.to, sight.source, sight.at)?;
        let edge = self.edges.entry((from, to, sight.relation)).or_default();
        edge.asynchronous |= sight.asynchronous;
        edge.sightings
            .entry(sight.source)
            .or_insert_with(|| Sighting::new(sight.at))
            .add(sight.at, sight.calls);
        Ok(())
    }

    /// Records a change. An entity keeps its newest [`CHANGES_PER_ENTITY`] changes. A
    /// change that is recorded twice is kept once.
    pub fn record_change(&mut self, change: Change) {
        let changes = self.changes.entry(change.entity.clone()).or_default();
        changes.insert((change.at, change));
        if changes.len() > CHANGES_PER_ENTITY {
            changes.pop_first();
        }
    }

    /// Adds a name of an entity. Returns false if the name is unusable.
    pub fn add_name(&mut self, name: &str, key: &EntityKey) -> bool {
        self.names.add(name, key)
    }

    /// Looks up a name: a key as text, an added name, or the name part of exactly one entity.
    pub fn resolve(&self, name: &str) -> Resolution {
        if let Ok(key) = name.parse::<EntityKey>()
            && self.ids.contains_key(&key)
        {
            return Resolution::Known(key);
        }
        self.names.resolve(name)
    }

    /// Returns the top owner of an entity: the Deployment of a Pod. Returns the entity itself if
    /// nothing owns it. A cycle of owners ends after a bounded number of steps.
    pub fn workload_of(&self, key: &EntityKey) -> EntityKey {
        let Some(mut id) = self.id(key) else {
            return key.clone();
        };
        for _ in 0..MAX_OWNERS {
            let owner = self
                .edges_from(id)
                .find(|(_, relation, _)| *relation == Relation::OwnedBy);
            match owner {
                Some((next, _, _)) => id = next,
                None => break,
            }
        }
        self.entity(id)
            .map_or_else(|| key.clone(), |entity| entity.key.clone())
    }

    /// Drops edges that are gone at `now`, entities that no source saw for as long and that have
    /// neither an edge nor a source that does not age, and changes of that age. Returns the number
    /// of dropped entities and edges.
    pub fn forget(&mut self, now: UnixMs) -> (usize, usize) {
        let before = self.edges.len();
        self.edges.retain(|_, edge| edge.age(now) != Age::Gone);
        let joined: BTreeSet<EntityId> = self
            .edges
            .keys()
            .flat_map(|(from, to, _)| [*from, *to])
            .collect();
        let is_gone = |entity: &Entity| {
            entity.sources.keys().all(|source| source.ages())
                && entity
                    .last_seen()
                    .is_none_or(|seen| Age::of(seen, now) == Age::Gone)
        };
        let gone: Vec<EntityKey> = self
            .entities()
            .filter(|(id, entity)| !joined.contains(id) && is_gone(entity))
            .map(|(_, entity)| entity.key.clone())
            .collect();
        for key in &gone {
            if let Some(id) = self.ids.remove(key) {
                self.slots[id.index()] = None;
                self.free.push(id);
            }
        }
        let gone: BTreeSet<EntityKey> = gone.into_iter().collect();
        self.names.forget(&gone);
        self.changes.retain(|_, changes| {
            changes.retain(|(at, _)| now.saturating_sub(*at) < GONE_AFTER);
            !changes.is_empty()
        });
        (gone.len(), before - self.edges.len())
    }

    /// Returns the id of an entity.
    pub fn id(&self, key: &EntityKey) -> Option<EntityId> {
        self.ids.get(key).copied()
    }

    /// Returns the entity of an id.
    pub fn entity(&self, id: EntityId) -> Option<&Entity> {
        self.slots.get(id.index())?.as_ref()
    }

    /// Returns a number above every index of an id.
    pub fn id_bound(&self) -> usize {
        self.slots.len()
    }

    /// Returns the number of entities.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns true if the world knows no entity.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the number of edges.
    pub fn edge_count(&self) -> usize {
        self.edges.len()
    }

    /// Returns the entities in the order of their keys.
    pub fn entities(&self) -> impl Iterator<Item = (EntityId, &Entity)> {
        self.ids
            .values()
            .filter_map(|id| Some((*id, self.entity(*id)?)))
    }

    /// Returns the edges by id, ordered by the ids of their ends.
    pub fn edges_by_id(&self) -> impl Iterator<Item = (EntityId, EntityId, Relation, &Edge)> {
        self.edges
            .iter()
            .map(|((from, to, relation), edge)| (*from, *to, *relation, edge))
    }

    /// Returns the edges that begin at an entity.
    pub fn edges_from(&self, id: EntityId) -> impl Iterator<Item = (EntityId, Relation, &Edge)> {
        let first = (id, EntityId(0), Relation::Calls);
        let last = (id, EntityId(u32::MAX), Relation::Uses);
        self.edges
            .range(first..=last)
            .map(|((_, to, relation), edge)| (*to, *relation, edge))
    }

    /// Returns the edge of one kind between two entities.
    pub fn edge(&self, from: EntityId, to: EntityId, relation: Relation) -> Option<&Edge> {
        self.edges.get(&(from, to, relation))
    }

    /// Returns the edges with the keys of their ends.
    pub fn edges(&self) -> impl Iterator<Item = (&EntityKey, &EntityKey, Relation, &Edge)> {
        self.edges_by_id().filter_map(|(from, to, relation, edge)| {
            Some((
                &self.entity(from)?.key,
                &self.entity(to)?.key,
                relation,
                edge,
            ))
        })
    }

    /// Returns the changes, by entity and then from the oldest to the newest.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.changes
            .values()
            .flat_map(|changes| changes.iter().map(|(_, change)| change))
    }

    /// Returns the names with their meanings.
    pub fn names(&self) -> impl Iterator<Item = (&str, &EntityKey)> {
        self.names
            .iter()
            .flat_map(|(name, keys)| keys.iter().map(move |key| (name, key)))
    }

    pub(crate) fn put_entity(&mut self, mut entity: Entity) {
        entity.state.bound();
        let id = self.id_or_new(&entity.key);
        self.slots[id.index()] = Some(entity);
    }

    pub(crate) fn put_edge(
        &mut self,
        from: &EntityKey,
        to: &EntityKey,
        relation: Relation,
        edge: Edge,
    ) {
        if from != to {
            let ends = (self.id_or_new(from), self.id_or_new(to));
            self.edges.insert((ends.0, ends.1, relation), edge);
        }
    }

    fn id_or_new(&mut self, key: &EntityKey) -> EntityId {
        match self.ids.entry(key.clone()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let entity = Some(Entity::new(key.clone()));
                let id = if let Some(id) = self.free.pop() {
                    self.slots[id.index()] = entity;
                    id
                } else {
                    // More entities than a u32 counts do not fit into memory.
                    let id = EntityId(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
                    self.slots.push(entity);
                    id
                };
                *vacant.insert(id)
            }
        }
    }

    fn slot_mut(&mut self, id: EntityId) -> Option<&mut Entity> {
        self.slots.get_mut(id.index())?.as_mut()
    }
}

impl From<World> for WorldRecord {
    fn from(world: World) -> Self {
        let edges = world.edges().map(|(from, to, relation, edge)| EdgeRecord {
            from: from.clone(),
            to: to.clone(),
            relation,
            edge: edge.clone(),
        });
        let mut edges: Vec<EdgeRecord> = edges.collect();
        edges.sort_by(|a, b| (&a.from, &a.to, a.relation).cmp(&(&b.from, &b.to, b.relation)));
        Self {
            edges,
            entities: world.entities().map(|(_, entity)| entity.clone()).collect(),
            names: world
                .names()
                .map(|(name, key)| NameRecord {
                    name: name.to_owned(),
                    entity: key.clone(),
                })
                .collect(),
            changes: world.changes().cloned().collect(),
        }
    }
}

impl From<WorldRecord> for World {
    fn from(record: WorldRecord) -> Self {
        let mut world = Self::new();
        for entity in record.entities {
            world.put_entity(entity);
        }
        for EdgeRecord {
            from,
            to,
            relation,
            edge,
        } in record.edges
        {
            world.put_edge(&from, &to, relation, edge);
        }
        for NameRecord { name, entity } in record.names {
            world.add_name(&name, &entity);
        }
        for change in record.changes {
            world.record_change(change);
        }
        world
    }
}
