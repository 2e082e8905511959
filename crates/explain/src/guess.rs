//! Calls that no source reports, guessed from conservation of loss.
//!
//! The loss of a callee shows at its callers. A loss that no known caller shows, beside a caller
//! with an own loss of that size in the same windows, suggests a call between the two. The two must
//! be connected by known calls in some direction: simultaneous timing alone is not enough.

use crate::graph::{Graph, Node};
use crate::own_loss::OwnLosses;
use crate::rank::MIN_SHARE;
use crate::shares::GuessedFlow;

/// Part of a caller's own loss that the callee must be able to explain, and part of a callee's loss
/// that its known callers must not show. More than half of a loss has one main origin.
const MAIN_PART: f64 = 0.5;

/// Maximum ratio of the unclaimed loss to the own loss of the guessed caller. Callers wait for some
/// calls in parallel and have a range of their own, so they show less than their callees; the
/// recordings show up to twice.
const MAX_RATIO: f64 = 4.0;

/// Maximum number of callers, and of callees, that are tried.
const MAX_TRIED: usize = 8;

/// Guesses calls that explain own losses. `alarms` are the entities of incidents, and `known` the
/// calls that were guessed before.
pub fn guess(
    graph: &Graph,
    own: &OwnLosses,
    alarms: &[Node],
    known: &[GuessedFlow],
) -> Vec<GuessedFlow> {
    let orphans = orphans(graph, own, alarms);
    let callers = callers(own, alarms);
    if orphans.is_empty() || callers.is_empty() {
        return Vec::new();
    }
    let component = components(graph);
    let mut known: Vec<(Node, Node)> = known
        .iter()
        .map(|flow| (flow.caller, flow.callee))
        .collect();
    let mut guessed: Vec<GuessedFlow> = Vec::new();
    let mut is_taken = vec![false; orphans.len()];
    for caller in callers {
        let is_open = |callee: Node| {
            // An entity without any known call may be anywhere in its namespace.
            let is_isolated =
                graph.calls_of(callee).is_empty() && own.carriers.to(callee).next().is_none();
            let is_near = component[callee] == component[caller]
                || (is_isolated && graph.keys[callee].namespace == graph.keys[caller].namespace);
            callee != caller
                && is_near
                && !graph.has_call(caller, callee)
                && !known.contains(&(caller, callee))
        };
        let fits = orphans
            .iter()
            .enumerate()
            .filter(|(index, (callee, unclaimed))| {
                !is_taken[*index] && *unclaimed <= MAX_RATIO * own.own[caller] && is_open(*callee)
            });
        let fits = fits.map(|(index, (callee, unclaimed))| {
            (
                overlap(own, caller, *callee, unclaimed / own.total[*callee]),
                index,
            )
        });
        let mut fits: Vec<(f64, usize)> = fits
            .filter(|(overlap, _)| *overlap >= MAIN_PART * own.own[caller])
            .collect();
        if fits.is_empty() {
            continue;
        }
        // A call back up would make a cycle.
        let is_ancestor = graph.ways_to(caller, &known);
        fits.retain(|(_, index)| is_ancestor[orphans[*index].0] == usize::MAX);
        let best = fits
            .into_iter()
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        if let Some((_, index)) = best {
            is_taken[index] = true;
            let (callee, unclaimed) = orphans[index];
            known.push((caller, callee));
            guessed.push(GuessedFlow {
                caller,
                callee,
                part: (unclaimed / own.total[callee]).min(1.0),
            });
        }
    }
    guessed.sort_by_key(|flow| (flow.caller, flow.callee));
    guessed
}

/// Returns the entities with the largest own losses, and those of incidents. A caller with a gap
/// below it needs no guess: the gap is the better suspect.
fn callers(own: &OwnLosses, alarms: &[Node]) -> Vec<Node> {
    let sum: f64 = own.own.iter().sum();
    let is_large = |node: Node| own.own[node] >= MIN_SHARE * sum || alarms.contains(&node);
    let mut callers: Vec<Node> = (0..own.own.len())
        .filter(|node| own.own[*node] > 0.0 && is_large(*node) && !has_gap_below(own, *node))
        .collect();
    callers.sort_by(|a, b| own.own[*b].total_cmp(&own.own[*a]).then(a.cmp(b)));
    callers.truncate(MAX_TRIED);
    callers
}

fn has_gap_below(own: &OwnLosses, node: Node) -> bool {
    own.carriers
        .of(node)
        .iter()
        .any(|flow| own.losses.has_gap(flow.callee))
}

/// Returns entities whose known callers do not show most of their loss, and that part, the largest
/// first. An entity that nobody calls is an entry if it passes on the loss of its callees, or if it
/// has an incident: its loss needs no caller.
fn orphans(graph: &Graph, own: &OwnLosses, alarms: &[Node]) -> Vec<(Node, f64)> {
    let is_entry = |node: Node| {
        let passes_on = own.own[node] < MAIN_PART * own.total[node] || has_gap_below(own, node);
        graph.calls_to(node).next().is_none() && (passes_on || alarms.contains(&node))
    };
    let mut orphans: Vec<(Node, f64)> = (0..graph.len())
        .filter(|node| own.total[*node] > 0.0 && !is_entry(*node))
        .map(|node| (node, own.total[node] - own.claimed(node)))
        .filter(|(node, unclaimed)| *unclaimed >= MAIN_PART * own.total[*node])
        .collect();
    orphans.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    orphans.truncate(MAX_TRIED);
    orphans
}

/// Returns the part of the caller's own loss that falls into windows in which the callee loses as
/// much.
fn overlap(own: &OwnLosses, caller: Node, callee: Node, part: f64) -> f64 {
    let windows = own.losses.windows;
    (0..windows)
        .map(|window| {
            let a = own.own_cells[caller * windows + window];
            let b = part * own.cells[callee * windows + window];
            if a.is_nan() || b.is_nan() {
                0.0
            } else {
                a.min(b).max(0.0)
            }
        })
        .sum()
}

/// Returns the component of each entity, calls taken in either direction.
fn components(graph: &Graph) -> Vec<Node> {
    let mut component = vec![usize::MAX; graph.len()];
    for start in 0..graph.len() {
        if component[start] != usize::MAX {
            continue;
        }
        component[start] = start;
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            let callees = graph.calls_of(node).iter().map(|call| call.to);
            for next in callees.chain(graph.calls_to(node).map(|call| call.from)) {
                if component[next] == usize::MAX {
                    component[next] = start;
                    open.push(next);
                }
            }
        }
    }
    component
}
