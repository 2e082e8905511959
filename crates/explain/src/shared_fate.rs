//! Step 4: things that several entities share, such as a node, a zone or a configuration object.

use std::collections::{BTreeMap, BTreeSet};

use anomalyzer_world::{Relation, World};

use crate::cause::Cause;
use crate::causes::Causes;
use crate::family::Family;
use crate::graph::{Graph, Node};

/// Part of the watched members that must be unhealthy inside.
const ILL_INSIDE: f64 = 0.8;

/// Part of the replicas outside that may be unhealthy.
const ILL_OUTSIDE: f64 = 0.2;

/// Number of services inside that must be unhealthy: one service alone is its own suspect.
const MIN_SERVICES: usize = 2;

/// Shared thing whose members fail together while their replicas elsewhere are well.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedFate {
    pub shared: Node,
    /// Unhealthy members, and their owners.
    pub members: Vec<Node>,
    pub services: usize,
}

/// Health of an entity; `None` if nobody watches it.
pub type Health<'a> = &'a dyn Fn(Node) -> Option<bool>;

/// Finds shared fates. `is_ill` returns the health of an entity.
pub fn shared_fates(graph: &Graph, is_ill: Health) -> Vec<SharedFate> {
    let owner = owners(graph);
    let mut members: BTreeMap<Node, BTreeSet<Node>> = BTreeMap::new();
    let mut replicas: BTreeMap<Node, BTreeSet<Node>> = BTreeMap::new();
    for (from, to, relation) in &graph.relations {
        match relation {
            Relation::RunsOn | Relation::Uses => {
                members.entry(*to).or_default().insert(*from);
            }
            Relation::OwnedBy => {
                replicas
                    .entry(top(&owner, *from))
                    .or_default()
                    .insert(*from);
            }
            Relation::Calls => {}
        }
    }
    let mut fates = Vec::new();
    for (shared, inside) in &members {
        let watched: Vec<(Node, bool)> = inside
            .iter()
            .filter_map(|node| Some((*node, is_ill(*node)?)))
            .collect();
        let ill: Vec<Node> = watched
            .iter()
            .filter(|(_, ill)| *ill)
            .map(|(node, _)| *node)
            .collect();
        let services: BTreeSet<Node> = ill.iter().map(|node| top(&owner, *node)).collect();
        if services.len() < MIN_SERVICES || part(ill.len(), watched.len()) < ILL_INSIDE {
            continue;
        }
        let siblings = services
            .iter()
            .filter_map(|service| replicas.get(service))
            .flatten();
        let outside = siblings.filter(|node| !inside.contains(node));
        let outside: Vec<bool> = outside.filter_map(|node| is_ill(*node)).collect();
        let ill_outside = outside.iter().filter(|ill| **ill).count();
        // Without replicas elsewhere there is nothing to compare with.
        if outside.is_empty() || part(ill_outside, outside.len()) > ILL_OUTSIDE {
            continue;
        }
        fates.push(SharedFate {
            shared: *shared,
            members: ill
                .iter()
                .copied()
                .chain(services.iter().copied())
                .collect(),
            services: services.len(),
        });
    }
    fates
}

/// Adds hard evidence for workloads whose unhealthy replicas all have a revision that no healthy
/// replica has.
pub fn add_revision_splits(graph: &Graph, world: &World, is_ill: Health, causes: &mut Causes) {
    let owner = owners(graph);
    let mut revisions: BTreeMap<Node, BTreeMap<&str, (usize, usize)>> = BTreeMap::new();
    for replica in owner.keys() {
        let entity = graph.id(*replica).and_then(|id| world.entity(id));
        let revision = entity.and_then(|entity| entity.state.revision.as_deref());
        if let (Some(revision), Some(ill)) = (revision, is_ill(*replica)) {
            let of_owner = revisions.entry(top(&owner, *replica)).or_default();
            let counts = of_owner.entry(revision).or_default();
            counts.0 += usize::from(ill);
            counts.1 += 1;
        }
    }
    for (workload, counts) in revisions {
        let ill: Vec<_> = counts.iter().filter(|(_, (ill, all))| ill == all).collect();
        let is_split = counts.len() > ill.len()
            && counts.values().filter(|(ill, _)| *ill > 0).count() == ill.len();
        if let ([(revision, (count, _))], true) = (ill.as_slice(), is_split) {
            let text = format!(
                "all {count} unhealthy replicas have the revision {revision}, and no healthy one has"
            );
            causes.add(workload, Cause::hard(Family::BadRelease, text));
        }
    }
}

fn owners(graph: &Graph) -> BTreeMap<Node, Node> {
    let mut owner = BTreeMap::new();
    for (from, to, relation) in &graph.relations {
        if *relation == Relation::OwnedBy {
            owner.entry(*from).or_insert(*to);
        }
    }
    owner
}

/// Returns the top owner. A cycle of owners ends after a bounded number of steps.
fn top(owner: &BTreeMap<Node, Node>, node: Node) -> Node {
    let mut at = node;
    for _ in 0..8 {
        match owner.get(&at) {
            Some(next) => at = *next,
            None => break,
        }
    }
    at
}

fn part(some: usize, all: usize) -> f64 {
    if all == 0 {
        0.0
    } else {
        some as f64 / all as f64
    }
}
