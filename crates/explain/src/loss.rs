//! Step 1: the loss of each entity since the onset, beyond its usual range.
//!
//! `L(v) = Σ requests(v, t) · max(0, x(v, t) − high'(v))` over the windows `t`, with
//! `high' = high + (level before the onset − usual level)`. The unit is seconds for latency, and
//! failed requests for errors. An excess that existed before the onset is not part of the incident.

use anomalyzer_domain::Meaning;

use crate::graph::{Graph, Node};
use crate::input::{Measure, Window};

/// Smallest width of a usual range, as a part of its level. A series that never moves would leave
/// its range by rounding.
const MIN_RELATIVE_WIDTH: f64 = 0.01;

/// Losses of all entities in one meaning.
#[derive(Clone, Debug)]
pub struct Losses {
    pub meaning: Meaning,
    pub windows: usize,
    /// Loss by entity and window; NaN for a gap, or if the entity is not measured.
    pub cells: Vec<f64>,
    /// Requests by entity: known ones, and the newest known number for each gap.
    pub requests: Vec<f64>,
    /// Requests by entity and window, with the newest known number in gaps.
    pub cell_requests: Vec<f64>,
    /// Excess over the level before the onset, by entity, in the unit of the loss. It may be
    /// negative.
    pub rise: Vec<f64>,
    /// Excess in the newest window that has a value.
    pub newest_rise: Vec<f64>,
    /// Excess over the level before the onset where it is positive, by entity.
    pub excess: Vec<f64>,
    /// Distance from the usual level to the upper end of the usual range; NaN if unknown.
    pub width: Vec<f64>,
    /// True for entities that are measured at all.
    pub is_measured: Vec<bool>,
    /// True for entities with unknown request counts.
    pub lacks_counts: Vec<bool>,
    /// Number of windows out of range.
    pub windows_out: Vec<usize>,
}

impl Losses {
    /// Computes the losses from measures of one meaning, at most one for an entity.
    pub fn new(graph: &Graph, meaning: Meaning, windows: usize, measures: &[&Measure]) -> Self {
        let size = graph.len();
        let mut losses = Self {
            meaning,
            windows,
            cells: vec![f64::NAN; size * windows],
            requests: vec![0.0; size],
            cell_requests: vec![0.0; size * windows],
            rise: vec![0.0; size],
            newest_rise: vec![0.0; size],
            excess: vec![0.0; size],
            width: vec![f64::NAN; size],
            is_measured: vec![false; size],
            lacks_counts: vec![false; size],
            windows_out: vec![0; size],
        };
        for measure in measures {
            if let Some(node) = graph.node(&measure.entity) {
                losses.add(node, measure);
            }
        }
        losses
    }

    fn add(&mut self, node: Node, measure: &Measure) {
        let usable = |value: Option<f64>| value.and_then(|value| usable(self.meaning, value));
        let before = usable(measure.before);
        let usual = measure.usual.and_then(|usual| usual.checked());
        let (level, high) = match (before, usual) {
            (Some(before), Some(usual)) => (before, usual.high + (before - usual.level)),
            (None, Some(usual)) => (usual.level, usual.high),
            (Some(before), None) => (before, before),
            // Without any usual value nobody can say that a value is unusual.
            (None, None) => return,
        };
        let mut newest = count(measure.requests_before);
        let is_counted =
            newest.is_some() || measure.windows.iter().any(|w| count(w.requests).is_some());
        self.is_measured[node] = true;
        self.lacks_counts[node] = !is_counted;
        self.width[node] = (high - level).max(MIN_RELATIVE_WIDTH * level.abs());
        for window in 0..self.windows {
            let Window { value, requests } =
                measure.windows.get(window).copied().unwrap_or_default();
            let value = usable(value);
            let known = count(requests);
            newest = known.or(newest);
            // Without counts every window weighs as one request: correlation only.
            let requests = newest.unwrap_or(1.0);
            let cell = node * self.windows + window;
            self.cell_requests[cell] = requests;
            self.requests[node] += requests;
            if known == Some(0.0) {
                // No request is a known loss of nothing, not a gap.
                self.cells[cell] = 0.0;
            } else if let Some(value) = value {
                let beyond = (value - high).max(0.0);
                self.cells[cell] = requests * beyond;
                self.windows_out[node] += usize::from(requests * beyond > 0.0);
                self.rise[node] += requests * (value - level);
                self.newest_rise[node] = requests * (value - level);
                self.excess[node] += requests * (value - level).max(0.0);
            }
        }
    }

    /// Returns the losses of an entity by window.
    pub fn row(&self, node: Node) -> &[f64] {
        &self.cells[node * self.windows..(node + 1) * self.windows]
    }

    /// Returns the known loss of an entity.
    pub fn total(&self, node: Node) -> f64 {
        self.row(node).iter().filter(|loss| !loss.is_nan()).sum()
    }

    /// Returns true if the entity is measured and has no value in some window.
    pub fn has_gap(&self, node: Node) -> bool {
        self.is_measured[node] && self.row(node).iter().any(|loss| loss.is_nan())
    }
}

/// Returns a value that can be counted: finite, not negative, and at most 1 for a share.
fn usable(meaning: Meaning, value: f64) -> Option<f64> {
    if !value.is_finite() || value < 0.0 {
        return None;
    }
    Some(if meaning == Meaning::Errors {
        value.min(1.0)
    } else {
        value
    })
}

fn count(requests: Option<f64>) -> Option<f64> {
    requests.filter(|count| count.is_finite() && *count >= 0.0)
}
