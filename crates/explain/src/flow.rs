//! Flow of loss from entities to the incidents above them.

use crate::graph::Node;
use crate::shares::Carriers;

/// Entities below some incidents, and the part of their loss that reaches these incidents.
pub struct Flow {
    /// Entities in an order in which callers come before callees, except in cycles.
    pub order: Vec<Node>,
    /// Place of an entity in `order`; `usize::MAX` if loss from it reaches no incident.
    place: Vec<usize>,
    /// Part of an entity's loss that reaches the incidents, 0 to 1.
    pub part: Vec<f64>,
}

impl Flow {
    /// Follows the flows from the entities of incidents down.
    pub fn new(carriers: &Carriers, size: usize, starts: &[Node]) -> Self {
        let order = topological(carriers, size, starts);
        let mut place = vec![usize::MAX; size];
        for (index, node) in order.iter().enumerate() {
            place[*node] = index;
        }
        let mut part = vec![0.0; size];
        for start in starts {
            part[*start] = 1.0;
        }
        for node in &order {
            for flow in carriers.of(*node) {
                // A call back up a cycle brings no new loss.
                if place[flow.callee] > place[*node] {
                    part[flow.callee] = (part[flow.callee] + flow.share * part[*node]).min(1.0);
                }
            }
        }
        Self { order, place, part }
    }

    /// Returns the part of the loss of `root` that reaches each entity.
    pub fn parts_of(&self, carriers: &Carriers, root: Node) -> Vec<f64> {
        let mut part = vec![0.0; self.place.len()];
        part[root] = 1.0;
        for node in self.order.iter().rev().filter(|node| **node != root) {
            let below = carriers.of(*node).iter();
            let below = below.filter(|flow| self.place[flow.callee] > self.place[*node]);
            let sum: f64 = below.map(|flow| flow.share * part[flow.callee]).sum();
            part[*node] = sum.min(1.0);
        }
        part
    }
}

/// Returns the entities below `starts` in reverse postorder of a depth-first walk.
fn topological(carriers: &Carriers, size: usize, starts: &[Node]) -> Vec<Node> {
    let mut is_seen = vec![false; size];
    let mut postorder = Vec::new();
    for start in starts {
        if is_seen[*start] {
            continue;
        }
        is_seen[*start] = true;
        let mut open = vec![(*start, 0)];
        while let Some((node, next)) = open.last_mut() {
            let Some(flow) = carriers.of(*node).get(*next) else {
                postorder.push(*node);
                open.pop();
                continue;
            };
            *next += 1;
            if !is_seen[flow.callee] {
                is_seen[flow.callee] = true;
                open.push((flow.callee, 0));
            }
        }
    }
    postorder.reverse();
    postorder
}
