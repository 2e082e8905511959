//! Step 3: incidents that may have one root.
//!
//! Two incidents join if calls lead from one to the other, or from both to an entity with a loss,
//! in few steps. A shared healthy callee joins nothing, and neither does time alone.

use std::collections::{BTreeMap, VecDeque};

use crate::graph::{Graph, Node};
use crate::limits::Limits;

/// Splits incidents into sets. `targets` holds the entity of each incident; `is_ill` is true for
/// entities with a loss or an incident. `shared` joins entities that share a fate.
pub fn join(
    graph: &Graph,
    targets: &[Node],
    is_ill: &[bool],
    shared: &[Vec<Node>],
    limits: &Limits,
) -> Vec<Vec<usize>> {
    let mut sets = Sets((0..graph.len()).collect());
    let mut visited = vec![usize::MAX; graph.len()];
    let mut distinct: Vec<Node> = targets.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    for (walk, target) in distinct.iter().enumerate() {
        let mut queue = VecDeque::from([(*target, 0)]);
        visited[*target] = walk;
        let mut count = 1;
        while let Some((node, hops)) = queue.pop_front() {
            if is_ill[node] {
                sets.join(*target, node);
            }
            if hops == limits.hops {
                continue;
            }
            for call in graph.calls_of(node) {
                if visited[call.to] != walk && count < limits.visited {
                    visited[call.to] = walk;
                    count += 1;
                    queue.push_back((call.to, hops + 1));
                }
            }
        }
    }
    for members in shared {
        for pair in members.windows(2) {
            sets.join(pair[0], pair[1]);
        }
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut place: BTreeMap<Node, usize> = BTreeMap::new();
    for (incident, target) in targets.iter().enumerate() {
        let group = *place.entry(sets.find(*target)).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(incident);
    }
    groups
}

/// Disjoint sets of entities. The smallest number names a set.
struct Sets(Vec<Node>);

impl Sets {
    fn find(&mut self, node: Node) -> Node {
        let mut root = node;
        while self.0[root] != root {
            root = self.0[root];
        }
        let mut node = node;
        while self.0[node] != root {
            node = std::mem::replace(&mut self.0[node], root);
        }
        root
    }

    fn join(&mut self, a: Node, b: Node) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}
