//! Step 6: the order of the candidates for the root of some incidents.

use std::cmp::Ordering;

use anomalyzer_domain::Meaning;

use crate::causes::Causes;
use crate::flow::Flow;
use crate::graph::Node;
use crate::own_loss::OwnLosses;
use crate::shared_fate::SharedFate;
use crate::signs::LASTING_WINDOWS;

/// Own share from which a candidate's causes are examined.
pub const MIN_SHARE: f64 = 0.15;

/// Ratio of two shares within which evidence decides before the share.
const CLOSE_RATIO: f64 = 1.5;

/// Least product of the arriving loss and of the rise, each in widths of the usual range. Each of
/// the two is noisy, so either may be below one width if the other is above.
const MATERIAL_WIDTHS: f64 = 0.5625;

/// Number of widths above which one of the two views counts no more, so that a large loss elsewhere
/// does not explain an incident that hardly moved.
const MAX_WIDTHS: f64 = 1.5;

/// Part of its own loss from which an entity is not explained by its callees.
const OWN_PART: f64 = 0.5;

/// Candidate for a root.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub node: Node,
    /// Share of its own loss in all own losses that reach the incidents, 0 to 1.
    pub share: f64,
    /// Steps from the nearest incident.
    pub depth: usize,
    /// First window out of range; `usize::MAX` if unknown.
    pub first_window: usize,
    /// Largest lasting deviation of a cause that the entity shows itself, beside a lasting effect.
    pub lasting: Option<f64>,
    pub is_hard: bool,
    /// Entities with a shared fate, if the candidate is shared.
    pub fate: Option<SharedFate>,
    /// True if its loss can move the value of an incident out of its range.
    pub is_material: bool,
}

/// Own losses in one meaning, and their flow to the incidents.
pub struct Side<'a> {
    pub own: &'a OwnLosses,
    pub flow: Flow,
}

impl<'a> Side<'a> {
    /// Follows the losses of one meaning to the entities of incidents.
    pub fn new(own: &'a OwnLosses, targets: &[Node]) -> Self {
        let flow = Flow::new(&own.carriers, own.own.len(), targets);
        Self { own, flow }
    }

    /// Returns the part of an entity's own loss that reaches the incidents.
    fn weight(&self, node: Node) -> f64 {
        self.own.own[node] * self.flow.part[node]
    }

    /// Returns true if the loss that arrives from `node` can have moved the value of a target out
    /// of its range.
    ///
    /// Two views of one excess must agree: the loss that arrives, and the rise of the target's own
    /// value, both in widths of its usual range. An incident whose value did not rise needs no
    /// root, and a loss does not explain an incident that it could not have caused.
    fn is_material(&self, node: Node, targets: &[Node]) -> bool {
        let losses = &self.own.losses;
        let mut judged = targets
            .iter()
            .filter(|target| losses.is_measured[**target])
            .peekable();
        if judged.peek().is_none() {
            return true;
        }
        judged.any(|target| {
            let width = losses.width[*target];
            // A failure is whole, so less than one is none.
            let least = if losses.meaning == Meaning::Errors {
                1.0
            } else {
                f64::MIN_POSITIVE
            };
            let arrived =
                self.weight(node) / (width * self.requests_beside(node, *target)).max(least);
            if losses.has_gap(*target) {
                // The rise may be in the gap, so it says nothing.
                return arrived.min(MAX_WIDTHS).powi(2) >= MATERIAL_WIDTHS;
            }
            let rise = losses.rise[*target] / (width * losses.requests[*target]).max(least);
            let lasts = losses.newest_rise[*target] > 0.0;
            lasts && rise > 0.0 && arrived.min(MAX_WIDTHS) * rise.min(MAX_WIDTHS) >= MATERIAL_WIDTHS
        })
    }

    /// Returns the requests of a target in the windows in which the loss of `node` is known.
    fn requests_beside(&self, node: Node, target: Node) -> f64 {
        let losses = &self.own.losses;
        let windows = 0..losses.windows;
        let known = windows.filter(|w| !self.own.own_cells[node * losses.windows + w].is_nan());
        let requests: f64 = known
            .map(|w| losses.cell_requests[target * losses.windows + w])
            .sum();
        // A slow network has no windows of its own.
        if requests > 0.0 {
            requests
        } else {
            losses.requests[target]
        }
    }
}

/// Finds and orders the candidates. The first one is the root, if there is any.
pub fn candidates(
    sides: &[Side],
    targets: &[Node],
    depth: &[usize],
    causes: &Causes,
    fates: &[SharedFate],
) -> Vec<Candidate> {
    let shares = shares(sides, depth.len());
    let mut found: Vec<Candidate> = Vec::new();
    for node in 0..depth.len() {
        if depth[node] == usize::MAX {
            continue;
        }
        let lasting = lasting(sides, causes, node);
        if shares[node] <= 0.0 && lasting.is_none() {
            continue;
        }
        found.push(Candidate {
            node,
            share: shares[node],
            depth: depth[node],
            first_window: first_window(sides, node),
            lasting,
            is_hard: causes.is_hard(node),
            fate: None,
            is_material: lasting.is_some()
                || sides.iter().any(|side| side.is_material(node, targets)),
        });
    }
    found.extend(
        fates
            .iter()
            .filter_map(|fate| shared(fate, &shares, sides, targets, depth, causes)),
    );
    order(&mut found, sides);
    found
}

/// Sorts candidates: shared fates with the largest share, lasting causes, then own shares. Among
/// shares within a factor of 1.5, hard evidence comes first, then the deeper entity, then the
/// earlier loss.
fn order(found: &mut [Candidate], sides: &[Side]) {
    let tier = |candidate: &Candidate| match (&candidate.fate, candidate.lasting) {
        (Some(_), _) => 0,
        (None, Some(_)) => 1,
        (None, None) => 2,
    };
    found.sort_by(|a, b| {
        let lasting = |c: &Candidate| c.lasting.unwrap_or(0.0);
        (!a.is_material, tier(a))
            .cmp(&(!b.is_material, tier(b)))
            .then(b.share.total_cmp(&a.share))
            .then(lasting(b).total_cmp(&lasting(a)))
            .then(a.node.cmp(&b.node))
    });
    let Some(first) = found.first() else { return };
    let (share, of_tier) = (first.share, (first.is_material, tier(first)));
    if of_tier.1 != 2 {
        return;
    }
    let close =
        |c: &Candidate| (c.is_material, tier(c)) == of_tier && c.share * CLOSE_RATIO >= share;
    let count = found
        .iter()
        .take_while(|candidate| close(candidate))
        .count();
    // Shares that rest on filled gaps are too coarse for the depth to decide.
    let is_filled = |c: &Candidate| sides.iter().any(|side| side.own.is_filled[c.node]);
    let has_gaps = found[..count].iter().any(is_filled);
    found[..count].sort_by(|a, b| {
        // Samples of neighbouring windows may overlap, so only two windows apart say which was
        // first.
        let earlier = a.first_window.saturating_add(LASTING_WINDOWS) <= b.first_window;
        let later = b.first_window.saturating_add(LASTING_WINDOWS) <= a.first_window;
        b.is_hard
            .cmp(&a.is_hard)
            .then(if has_gaps {
                Ordering::Equal
            } else {
                b.depth.cmp(&a.depth)
            })
            .then(later.cmp(&earlier))
            .then(b.share.total_cmp(&a.share))
            .then(a.node.cmp(&b.node))
    });
}

/// Returns the share of each entity: the mean over the meanings with a loss. The sum is at most 1.
fn shares(sides: &[Side], size: usize) -> Vec<f64> {
    let mut shares = vec![0.0; size];
    let totals = sides.iter().map(|side| {
        let total: f64 = side.flow.order.iter().map(|node| side.weight(*node)).sum();
        (side, total)
    });
    let sides: Vec<(&Side, f64)> = totals
        .filter(|(_, total)| *total > 0.0 && total.is_finite())
        .collect();
    for (side, total) in &sides {
        for node in &side.flow.order {
            shares[*node] += side.weight(*node) / total / sides.len() as f64;
        }
    }
    shares
}

/// Returns the largest lasting deviation, if the entity also shows a lasting loss of its own. A
/// cause-like value without an effect is no cause.
fn lasting(sides: &[Side], causes: &Causes, node: Node) -> Option<f64> {
    let widths = causes.lasting_widths(node)?;
    let has_effect = |side: &Side| {
        let (own, windows) = (side.own, side.own.losses.windows);
        let cells = &own.own_cells[node * windows..(node + 1) * windows];
        let lasts = cells.iter().filter(|loss| **loss > 0.0).count() >= LASTING_WINDOWS;
        // The loss of a slow network has no windows of its own: its sign lasts already.
        let is_between = own.own[node]
            > cells
                .iter()
                .filter(|loss| !loss.is_nan())
                .sum::<f64>()
                .max(0.0);
        own.own[node] >= OWN_PART * own.total[node] && own.own[node] > 0.0 && (lasts || is_between)
    };
    sides.iter().any(has_effect).then_some(widths)
}

fn first_window(sides: &[Side], node: Node) -> usize {
    let firsts = sides.iter().filter_map(|side| {
        side.own
            .losses
            .row(node)
            .iter()
            .position(|loss| *loss > 0.0)
    });
    firsts.min().unwrap_or(usize::MAX)
}

fn shared(
    fate: &SharedFate,
    shares: &[f64],
    sides: &[Side],
    targets: &[Node],
    depth: &[usize],
    causes: &Causes,
) -> Option<Candidate> {
    let reached = fate
        .members
        .iter()
        .filter(|node| depth[**node] != usize::MAX);
    let reached: Vec<Node> = reached.copied().collect();
    if reached.len() < 2 {
        return None;
    }
    let share: f64 = reached.iter().map(|node| shares[*node]).sum();
    let is_material = |node: &Node| sides.iter().any(|side| side.is_material(*node, targets));
    Some(Candidate {
        node: fate.shared,
        share: share.min(1.0),
        depth: reached.iter().map(|node| depth[*node]).max().unwrap_or(0) + 1,
        first_window: reached
            .iter()
            .map(|node| first_window(sides, *node))
            .min()?,
        lasting: None,
        is_hard: causes.is_hard(fate.shared),
        is_material: causes.is_hard(fate.shared) || reached.iter().any(is_material),
        fate: Some(fate.clone()),
    })
}
