//! Losses for gaps, by conservation: a gap is never zero.
//!
//! An entity without a value in a window may have caused the loss that its callers show there. The
//! part of a caller's loss that no other callee explains goes to a callee with a gap, if
//!
//! - the callee was out of its range in another window since the onset; or
//! - the caller is the entity of an incident, and no window contradicts. The incident is known to
//!   be a symptom, while its callee may be the cause.

use crate::graph::Node;
use crate::loss::Losses;
use crate::shares::Carriers;

/// Losses with filled gaps.
pub struct Filled {
    /// Loss by entity and window; NaN where nothing is known.
    pub cells: Vec<f64>,
    /// Entities with a filled gap.
    pub is_filled: Vec<bool>,
}

/// Fills the gaps of losses.
pub fn fill(losses: &Losses, carriers: &Carriers, is_alarm: &[bool]) -> Filled {
    let mut filled = Filled {
        cells: losses.cells.clone(),
        is_filled: vec![false; losses.requests.len()],
    };
    let gaps: Vec<bool> = (0..losses.requests.len())
        .map(|node| losses.has_gap(node))
        .collect();
    if !gaps.contains(&true) {
        return filled;
    }
    for window in 0..losses.windows {
        let mut added: Vec<(Node, f64)> = Vec::new();
        for (caller, is_alarm) in is_alarm.iter().enumerate() {
            let rest = unexplained(losses, carriers, caller, window);
            if rest <= 0.0 || !carriers.of(caller).iter().any(|flow| gaps[flow.callee]) {
                continue;
            }
            let suspects = suspects(losses, carriers, caller, window, *is_alarm);
            let total: f64 = suspects.iter().map(|(_, weight)| weight).sum();
            if total > 0.0 {
                added.extend(
                    suspects
                        .iter()
                        .map(|(node, weight)| (*node, rest * weight / total)),
                );
            }
        }
        for (node, loss) in added {
            let cell = &mut filled.cells[node * losses.windows + window];
            *cell = if cell.is_nan() { loss } else { *cell + loss };
            filled.is_filled[node] = true;
        }
    }
    filled
}

/// Returns the loss of an entity in a window that its measured callees do not explain; 0 in a gap.
fn unexplained(losses: &Losses, carriers: &Carriers, caller: Node, window: usize) -> f64 {
    let loss = losses.row(caller).get(window).copied().unwrap_or(f64::NAN);
    if loss.is_nan() || loss <= 0.0 {
        return 0.0;
    }
    let flows = carriers.of(caller).iter();
    let known = flows.map(|flow| (flow.share, losses.row(flow.callee)[window]));
    loss - known
        .filter(|(_, loss)| !loss.is_nan())
        .map(|(share, loss)| share * loss)
        .sum::<f64>()
}

/// Returns callees with a gap in the window that may have caused the loss of a caller, and their
/// weights.
fn suspects(
    losses: &Losses,
    carriers: &Carriers,
    caller: Node,
    window: usize,
    is_alarm: bool,
) -> Vec<(Node, f64)> {
    let flows = || {
        let flows = carriers.of(caller).iter();
        flows.filter(|flow| {
            losses.is_measured[flow.callee] && losses.row(flow.callee)[window].is_nan()
        })
    };
    let ill = flows().filter(|flow| losses.windows_out[flow.callee] > 0);
    let ill: Vec<(Node, f64)> = ill
        .map(|flow| (flow.callee, losses.total(flow.callee)))
        .collect();
    if !ill.is_empty() || !is_alarm {
        return ill;
    }
    // The ends of a call can't be told apart, so the loss is apportioned by the calls.
    let clear = |callee: Node, share: f64| {
        (0..losses.windows).all(|other| {
            let rest = unexplained(losses, carriers, caller, other);
            let loss = losses.row(callee)[other];
            rest <= 0.0 || loss.is_nan() || share * loss >= rest
        })
    };
    flows()
        .filter(|flow| clear(flow.callee, flow.share))
        .map(|flow| (flow.callee, flow.share * losses.requests[flow.callee]))
        .collect()
}
