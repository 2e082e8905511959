//! Step 2: the own loss of each entity, which does not come from the services that it calls.
//!
//! `own(v) = L(v) − Σ_c share(v, c) · L(c)`, not below 0. One pass over the calls is enough, so
//! cycles need no order.

use anomalyzer_domain::UnixMs;

use crate::graph::{Graph, Node};
use crate::imputation::{Filled, fill};
use crate::loss::Losses;
use crate::network::NetworkLoss;
use crate::shares::{Carriers, GuessedFlow};

/// Own losses of all entities in one meaning.
pub struct OwnLosses {
    pub losses: Losses,
    pub carriers: Carriers,
    /// Own loss by entity.
    pub own: Vec<f64>,
    /// Loss by entity, with filled gaps.
    pub total: Vec<f64>,
    pub is_filled: Vec<bool>,
    /// Loss by entity and window, with filled gaps; NaN where nothing is known.
    pub cells: Vec<f64>,
    /// Own loss by entity and window; NaN for a gap.
    pub own_cells: Vec<f64>,
}

impl OwnLosses {
    /// Computes the own losses.
    pub fn new(
        graph: &Graph,
        losses: Losses,
        network: &NetworkLoss,
        scope: &Scope,
        guessed: &[GuessedFlow],
    ) -> Self {
        let carriers = Carriers::new(graph, &losses, scope.onset, guessed);
        let Filled { cells, is_filled } = fill(&losses, &carriers, scope.is_alarm);
        let windows = losses.windows;
        let mut own_cells = cells.clone();
        for flow in carriers.all() {
            for window in 0..windows {
                let loss = cells[flow.callee * windows + window];
                if !loss.is_nan() {
                    own_cells[flow.caller * windows + window] -= flow.share * loss;
                }
            }
        }
        let sum = |cells: &[f64], node: Node| -> f64 {
            let row = &cells[node * windows..(node + 1) * windows];
            row.iter().filter(|loss| !loss.is_nan()).sum()
        };
        let mut own: Vec<f64> = (0..graph.len()).map(|node| sum(&own_cells, node)).collect();
        let mut total: Vec<f64> = (0..graph.len()).map(|node| sum(&cells, node)).collect();
        network.apply(losses.meaning, &mut own, &mut total);
        for own in &mut own {
            *own = own.max(0.0);
        }
        Self {
            losses,
            carriers,
            own,
            total,
            is_filled,
            cells,
            own_cells,
        }
    }

    /// Returns losses of a meaning that no incident asks for: they are known, and not divided.
    pub fn undivided(graph: &Graph, losses: Losses) -> Self {
        let (size, cells) = (graph.len(), losses.cells.clone());
        Self {
            carriers: Carriers::none(size),
            own: vec![0.0; size],
            total: vec![0.0; size],
            is_filled: vec![false; size],
            own_cells: cells.clone(),
            cells,
            losses,
        }
    }

    /// Returns the part of the loss of `node` that its callers show, given what each of them lost.
    pub fn claimed(&self, node: Node) -> f64 {
        let loss = self.total[node];
        let claims = self
            .carriers
            .to(node)
            .map(|flow| (flow.share * loss).min(self.total[flow.caller]));
        claims.sum::<f64>().min(loss)
    }
}

/// Facts about the incidents that the losses need.
pub struct Scope<'a> {
    /// Earliest onset of an incident.
    pub onset: UnixMs,
    /// True for the entities of incidents.
    pub is_alarm: &'a [bool],
}
