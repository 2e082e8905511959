//! A world as lists, for the wire and for the record of a decision.

use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::edge::{Edge, Relation};
use crate::entity::{Entity, EntityKey};
use crate::world::World;

/// Edge with the keys of its ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EdgeRecord {
    /// Entity at which the edge begins.
    pub from: EntityKey,
    /// Entity at which the edge ends.
    pub to: EntityKey,
    /// Kind of the relation.
    pub relation: Relation,
    /// Facts.
    #[serde(flatten)]
    pub edge: Edge,
}

/// Name with one of its meanings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// Name.
    pub name: String,
    /// Entity.
    pub entity: EntityKey,
}

/// World as lists, each ordered by key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorldRecord {
    /// Entities.
    #[serde(default)]
    pub entities: Vec<Entity>,
    /// Edges.
    #[serde(default)]
    pub edges: Vec<EdgeRecord>,
    /// Names other than keys.
    #[serde(default)]
    pub names: Vec<NameRecord>,
    /// Changes, the oldest first.
    #[serde(default)]
    pub changes: Vec<Change>,
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
