//! Bounds of the part of a world that an explanation reads.

use std::collections::VecDeque;

use anomalyzer_domain::UnixMs;
use serde::{Deserialize, Serialize};

use crate::entity::{EntityId, EntityKey};
use crate::world::World;

/// Largest part of a world that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Maximum number of entities.
    pub entities: usize,
    /// Maximum number of edges.
    pub edges: usize,
}

impl Default for Bounds {
    /// 5,000 entities and 50,000 edges: an explanation of that size takes a few milliseconds.
    fn default() -> Self {
        Self {
            entities: 5_000,
            edges: 50_000,
        }
    }
}

/// Number of parts that did not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omitted {
    /// Number of entities.
    pub entities: usize,
    /// Number of edges.
    pub edges: usize,
}

/// Part of a world, and the count of the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounded {
    /// Kept part.
    pub world: World,
    /// Number of parts that are left out.
    pub omitted: Omitted,
}

impl World {
    /// Cuts out the part around some entities, usually those with open incidents.
    ///
    /// Entities are kept from the nearest to the farthest, edges taken in either direction. At
    /// equal distance, entities with more calls come first, then the order of the keys. Of the
    /// edges between kept entities, those nearest to the incidents are kept, then those with most
    /// calls.
    pub fn bounded(&self, around: &[EntityKey], bounds: Bounds, now: UnixMs) -> Bounded {
        if self.len() <= bounds.entities && self.edge_count() <= bounds.edges {
            return Bounded {
                world: self.clone(),
                omitted: Omitted::default(),
            };
        }
        let near = Nearness::new(self, around, now);
        let mut order: Vec<EntityId> = self.entities().map(|(id, _)| id).collect();
        // The sort is stable, so that equal entities stay in the order of their keys.
        order.sort_by(|a, b| near.compare(*a, *b));
        order.truncate(bounds.entities);
        let mut is_kept = vec![false; self.id_bound()];
        for id in &order {
            is_kept[id.index()] = true;
        }
        let mut edges: Vec<_> = self
            .edges_by_id()
            .filter(|(from, to, _, _)| is_kept[from.index()] && is_kept[to.index()])
            .map(|(from, to, relation, edge)| {
                let calls = edge.calls(now).unwrap_or(0.0);
                let distance = near.distance[from.index()].max(near.distance[to.index()]);
                (distance, calls, from, to, relation, edge)
            })
            .collect();
        edges.sort_by(|a, b| {
            let keys = |from, to| {
                (
                    self.entity(from).map(|e| &e.key),
                    self.entity(to).map(|e| &e.key),
                )
            };
            a.0.cmp(&b.0)
                .then(b.1.total_cmp(&a.1))
                .then_with(|| (keys(a.2, a.3), a.4).cmp(&(keys(b.2, b.3), b.4)))
        });
        edges.truncate(bounds.edges);
        self.part(
            &order,
            edges.into_iter().map(|edge| (edge.2, edge.3, edge.4)),
        )
    }

    fn part(
        &self,
        entities: &[EntityId],
        edges: impl Iterator<Item = (EntityId, EntityId, crate::Relation)>,
    ) -> Bounded {
        let mut world = Self::new();
        for entity in entities.iter().filter_map(|id| self.entity(*id)) {
            world.put_entity(entity.clone());
        }
        for (from, to, relation) in edges {
            let edge = self.edge(from, to, relation);
            if let (Some(from), Some(to), Some(edge)) = (self.entity(from), self.entity(to), edge) {
                world.put_edge(&from.key, &to.key, relation, edge.clone());
            }
        }
        for (name, key) in self.names() {
            if world.id(key).is_some() {
                world.add_name(name, key);
            }
        }
        for change in self.changes() {
            if world.id(&change.entity).is_some() {
                world.record_change(change.clone());
            }
        }
        let omitted = Omitted {
            entities: self.len() - world.len(),
            edges: self.edge_count() - world.edge_count(),
        };
        Bounded { world, omitted }
    }
}

/// Distance and traffic of each entity.
struct Nearness {
    distance: Vec<u32>,
    calls: Vec<f64>,
}

impl Nearness {
    fn new(world: &World, around: &[EntityKey], now: UnixMs) -> Self {
        let mut neighbours: Vec<Vec<EntityId>> = vec![Vec::new(); world.id_bound()];
        let mut calls = vec![0.0; world.id_bound()];
        for (from, to, _, edge) in world.edges_by_id() {
            neighbours[from.index()].push(to);
            neighbours[to.index()].push(from);
            let count = edge.calls(now).unwrap_or(0.0);
            calls[from.index()] += count;
            calls[to.index()] += count;
        }
        let mut distance = vec![u32::MAX; world.id_bound()];
        let mut queue: VecDeque<EntityId> = around.iter().filter_map(|key| world.id(key)).collect();
        for id in &queue {
            distance[id.index()] = 0;
        }
        while let Some(id) = queue.pop_front() {
            let next = distance[id.index()].saturating_add(1);
            for neighbour in &neighbours[id.index()] {
                if distance[neighbour.index()] == u32::MAX {
                    distance[neighbour.index()] = next;
                    queue.push_back(*neighbour);
                }
            }
        }
        Self { distance, calls }
    }

    fn compare(&self, a: EntityId, b: EntityId) -> std::cmp::Ordering {
        let (a, b) = (a.index(), b.index());
        self.distance[a]
            .cmp(&self.distance[b])
            .then(self.calls[b].total_cmp(&self.calls[a]))
    }
}
