//! A world as lists, for the wire and for the record of a decision.

use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::edge::{Edge, Relation};
use crate::entity::{Entity, EntityKey};

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
