//! Loss between the two ends of calls: the time at the client minus the time at the server.
//!
//! A slow network of an entity shows at all calls to it, because each answer is late, while its
//! server is well. A network that is slow in the other direction only shows at all calls of the
//! entity. A gap at some of the calls belongs to these calls.

use anomalyzer_domain::Meaning;

use crate::graph::{Graph, Node};
use crate::input::CallMeasure;
use crate::signs::{Lasting, lasting};

/// Part of the measured calls of an entity that must show the gap. One call in five may hide it: a
/// call with few requests has a coarse median.
const AFFECTED_PART: f64 = 0.8;

/// Call with a lasting gap.
#[derive(Clone, Copy, Debug)]
pub struct GapCall {
    pub from: Node,
    pub to: Node,
    /// Seconds beyond the usual gap, summed over the calls since the onset.
    pub loss: f64,
    pub sign: Lasting,
    /// End of the call whose network is slow.
    pub blamed: Node,
    /// True if all measured calls of the blamed entity show the gap.
    pub is_network: bool,
}

/// Calls from which requests vanish on the way.
#[derive(Clone, Copy, Debug)]
pub struct MissingCalls {
    pub from: Node,
    pub to: Node,
    /// Usual calls in a window.
    pub usual: f64,
    /// Mean of the calls in a window since the onset.
    pub calls: f64,
}

/// Losses of the network.
#[derive(Default)]
pub struct NetworkLoss {
    pub gaps: Vec<GapCall>,
    pub missing: Vec<MissingCalls>,
}

/// Part of the usual calls below which requests are missing.
const MISSING_BELOW: f64 = 0.1;

/// Number of usual calls in a window from which their absence says something: with five expected,
/// none at all happens by chance in less than one of a hundred windows (Poisson).
const MIN_USUAL_CALLS: f64 = 5.0;

impl NetworkLoss {
    /// Finds calls with a lasting gap, and calls that fell to nothing.
    pub fn new(graph: &Graph, windows: usize, calls: &[&CallMeasure]) -> Self {
        let mut network = Self::default();
        // Number of measured calls and of calls with a gap, by entity: to it, and of it.
        let mut inward = vec![(0_u32, 0_u32); graph.len()];
        let mut outward = inward.clone();
        for call in calls {
            let (Some(from), Some(to)) = (graph.node(&call.from), graph.node(&call.to)) else {
                continue;
            };
            network
                .missing
                .extend(missing_calls(call, from, to, windows));
            let samples: Vec<Option<f64>> = call
                .windows
                .iter()
                .take(windows)
                .map(|window| window.value)
                .collect();
            let usual = call.usual_gap.and_then(|usual| usual.checked());
            let Some(usual) = usual else { continue };
            if !samples.iter().flatten().any(|value| value.is_finite()) {
                continue;
            }
            let sign = lasting(&samples, usual);
            for side in [&mut outward[from], &mut inward[to]] {
                side.0 += 1;
                side.1 += u32::from(sign.is_some());
            }
            if let Some(sign) = sign {
                network.gaps.push(GapCall {
                    from,
                    to,
                    loss: gap_loss(call, windows, usual.high),
                    sign,
                    blamed: to,
                    is_network: false,
                });
            }
        }
        for gap in &mut network.gaps {
            // A caller with one measured call can't be told from the network of its callee, which
            // is deeper. Of two affected ends, the one with more affected calls explains more.
            let (of_caller, to_callee) = (outward[gap.from], inward[gap.to]);
            let caller = is_affected(of_caller) && of_caller.0 > 1;
            let callee = is_affected(to_callee);
            gap.is_network = caller || callee;
            if caller && (!callee || of_caller.1 > to_callee.1) {
                gap.blamed = gap.from;
            }
        }
        network
    }

    /// Moves the loss of gaps from the callers to the blamed ends. Gaps are latencies.
    pub fn apply(&self, meaning: Meaning, own: &mut [f64], total: &mut [f64]) {
        if meaning != Meaning::Latency {
            return;
        }
        for gap in &self.gaps {
            own[gap.from] -= gap.loss;
        }
        for gap in &self.gaps {
            own[gap.blamed] = own[gap.blamed].max(0.0) + gap.loss;
            if gap.blamed != gap.from {
                total[gap.blamed] += gap.loss;
            }
        }
    }
}

/// Returns true if most of the measured calls show a gap.
fn is_affected((measured, ill): (u32, u32)) -> bool {
    ill > 0 && f64::from(ill) >= AFFECTED_PART * f64::from(measured)
}

fn gap_loss(call: &CallMeasure, windows: usize, high: f64) -> f64 {
    let (mut loss, mut newest) = (0.0, None);
    for window in call.windows.iter().take(windows) {
        newest = window
            .requests
            .filter(|count| count.is_finite() && *count >= 0.0)
            .or(newest);
        if let Some(value) = window.value.filter(|value| value.is_finite()) {
            let requests = newest.or(call.usual_calls.filter(|calls| calls.is_finite()));
            loss += requests.unwrap_or(1.0).max(0.0) * (value - high).max(0.0);
        }
    }
    loss
}

fn missing_calls(call: &CallMeasure, from: Node, to: Node, windows: usize) -> Option<MissingCalls> {
    let usual = call
        .usual_calls
        .filter(|usual| usual.is_finite() && *usual >= MIN_USUAL_CALLS)?;
    let known = call
        .windows
        .iter()
        .take(windows)
        .filter_map(|window| window.requests);
    let known: Vec<f64> = known.filter(|count| count.is_finite()).collect();
    // One window may be cut by the onset or by a late scrape.
    if known.len() < 2 {
        return None;
    }
    let newest = &known[known.len() - 2..];
    let calls = newest.iter().sum::<f64>() / 2.0;
    (calls < MISSING_BELOW * usual).then_some(MissingCalls {
        from,
        to,
        usual,
        calls,
    })
}
