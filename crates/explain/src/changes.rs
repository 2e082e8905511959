//! Changes shortly before the onset.

use std::collections::BTreeMap;

use anomalyzer_domain::UnixMs;
use anomalyzer_world::{Change, Relation};

use crate::graph::{Graph, Node};

/// Time before the onset in which a change may be the cause: 30 minutes, in milliseconds. Rollouts
/// and caches take that long to show.
pub const SUSPECT_WINDOW: UnixMs = 30 * 60_000;

/// Time in which the weight of a change halves: ten minutes, in milliseconds.
const HALF_LIFE: f64 = 600_000.0;

/// Changes near the onset, by entity.
pub struct Changes<'a> {
    onset: UnixMs,
    near: BTreeMap<Node, Vec<&'a Change>>,
    /// Entities that an entity uses or runs on.
    used: BTreeMap<Node, Vec<Node>>,
}

impl<'a> Changes<'a> {
    /// Selects the changes in the half hour before the onset. A change after the onset is not the
    /// cause.
    pub fn new(graph: &Graph, changes: &'a [Change], onset: UnixMs) -> Self {
        let mut near: BTreeMap<Node, Vec<&Change>> = BTreeMap::new();
        for change in changes {
            let is_near = change.at <= onset && change.at >= onset.saturating_sub(SUSPECT_WINDOW);
            if let (true, Some(node)) = (is_near, graph.node(&change.entity)) {
                near.entry(node).or_default().push(change);
            }
        }
        for changes in near.values_mut() {
            changes.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.cmp(b)));
            changes.dedup();
        }
        let mut used: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
        for (from, to, relation) in &graph.relations {
            match relation {
                Relation::Uses | Relation::RunsOn => used.entry(*from).or_default().push(*to),
                // The revision of a ReplicaSet is a change of its Deployment.
                Relation::OwnedBy => used.entry(*to).or_default().push(*from),
                Relation::Calls => {}
            }
        }
        Self { onset, near, used }
    }

    /// Returns the newest change that touches an entity or something that it uses.
    pub fn of(&self, node: Node) -> Option<&'a Change> {
        let used = self.used.get(&node).into_iter().flatten();
        let nodes = std::iter::once(&node).chain(used);
        let changes = nodes.filter_map(|node| self.near.get(node)?.first().copied());
        changes.max_by(|a, b| a.at.cmp(&b.at).then_with(|| b.cmp(a)))
    }

    /// Returns each changed entity, and each entity that uses a changed one, with the change.
    pub fn suspects(&self) -> Vec<(Node, &'a Change)> {
        let nodes = self.near.keys().chain(self.used.keys());
        let mut suspects: Vec<(Node, &Change)> = nodes
            .filter_map(|node| Some((*node, self.of(*node)?)))
            .collect();
        suspects.sort();
        suspects.dedup();
        suspects
    }

    /// Returns the changes of entities other than `except`, the newest first.
    pub fn others(&self, except: Option<&Change>) -> Vec<&'a Change> {
        let all = self.near.values().flatten().copied();
        let mut others: Vec<&Change> = all.filter(|change| Some(*change) != except).collect();
        others.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.cmp(b)));
        others
    }

    /// Returns the weight of a change: 1 at the onset, and half for each ten minutes before it.
    pub fn weight(&self, change: &Change) -> f64 {
        let age = self.onset.saturating_sub(change.at);
        // Ages are at most half an hour, so the conversion is exact.
        0.5_f64.powf(age as f64 / HALF_LIFE)
    }
}
