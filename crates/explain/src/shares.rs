//! Shares of callers in the loss of a callee.
//!
//! `share(v, c)` is the part of the calls of `c` that come from `v`. Edge counts give it. Without
//! them, the requests of the callers do.

use anomalyzer_domain::UnixMs;

use crate::graph::{Call, Graph, Node, by_row, starts};
use crate::loss::Losses;

/// Number of calls over which an entity without series is replaced by the services that it calls.
const UNSEEN_HOPS: usize = 3;

/// Maximum number of callees that replace entities without series below one caller.
const MAX_REPLACEMENTS: usize = 256;

/// Flow of loss from a callee to a caller.
#[derive(Clone, Copy, Debug)]
pub struct Carrier {
    pub caller: Node,
    pub callee: Node,
    /// Calls, if a source counts them.
    count: Option<f64>,
    /// Share that conservation gives to a guessed call.
    fixed: Option<f64>,
    /// Share of the caller in the callee's calls, 0 to 1.
    pub share: f64,
}

/// Flow over a call that no source reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuessedFlow {
    pub caller: Node,
    pub callee: Node,
    /// Part of the callee's loss that no known caller shows, 0 to 1.
    pub part: f64,
}

/// Flows of loss, ordered by caller and callee.
pub struct Carriers {
    all: Vec<Carrier>,
    rows: Vec<usize>,
    back: Vec<usize>,
    back_rows: Vec<usize>,
}

impl Carriers {
    /// Finds the flows between measured entities. `guessed` adds calls that no source reports.
    ///
    /// Asynchronous calls carry no loss: nobody waits for them. A callee that was never seen before
    /// the onset carries none either: the new call is the change of its caller, so its loss counts
    /// there.
    pub fn new(graph: &Graph, losses: &Losses, onset: UnixMs, guessed: &[GuessedFlow]) -> Self {
        let mut all = Vec::new();
        for caller in (0..graph.len()).filter(|node| losses.is_measured[*node]) {
            let start = all.len();
            seen_callees(graph, losses, caller, onset, &mut all);
            let added = guessed.iter().filter(|flow| flow.caller == caller);
            all.extend(added.map(|flow| Carrier {
                fixed: Some(flow.part),
                ..carrier(caller, flow.callee, None)
            }));
            let is_ordered = all[start..].is_sorted_by(|a, b| a.callee < b.callee);
            if !is_ordered {
                all[start..].sort_by(|a, b| {
                    // A direct call is known better than one through unseen entities.
                    (a.callee, b.count.is_some()).cmp(&(b.callee, a.count.is_some()))
                });
            }
        }
        all.dedup_by_key(|carrier| (carrier.caller, carrier.callee));
        let size = graph.len();
        let rows = starts(size, all.iter().map(|carrier| carrier.caller));
        let (back, back_rows) = by_row(size, all.iter().map(|carrier| carrier.callee));
        let mut carriers = Self {
            all,
            rows,
            back,
            back_rows,
        };
        carriers.weigh(size, losses);
        carriers
    }

    fn weigh(&mut self, size: usize, losses: &Losses) {
        for callee in 0..size {
            let indexes = &self.back[self.back_rows[callee]..self.back_rows[callee + 1]];
            let all = &mut self.all;
            let fixed: f64 = indexes.iter().filter_map(|i| all[*i].fixed).sum();
            let open = || indexes.iter().filter(|i| all[**i].fixed.is_none());
            let counted: Option<f64> = open().map(|i| all[*i].count).sum();
            let counted = counted.filter(|sum| *sum > 0.0);
            let total =
                counted.unwrap_or_else(|| open().map(|i| losses.requests[all[*i].caller]).sum());
            // The known callers share what the guessed ones leave.
            let rest = 1.0 - fixed.min(1.0);
            for index in indexes {
                let flow = &mut all[*index];
                let weight = match counted {
                    Some(_) => flow.count.unwrap_or(0.0),
                    None => losses.requests[flow.caller],
                };
                flow.share = match flow.fixed {
                    Some(part) => part / fixed.max(1.0),
                    None if total > 0.0 => rest * weight / total,
                    None => 0.0,
                };
            }
        }
    }

    /// Returns no flows between `size` entities.
    pub fn none(size: usize) -> Self {
        Self {
            all: Vec::new(),
            rows: vec![0; size + 1],
            back: Vec::new(),
            back_rows: vec![0; size + 1],
        }
    }

    /// Returns the flows to a caller.
    pub fn of(&self, caller: Node) -> &[Carrier] {
        &self.all[self.rows[caller]..self.rows[caller + 1]]
    }

    /// Returns the flows from a callee.
    pub fn to(&self, callee: Node) -> impl Iterator<Item = &Carrier> {
        self.back[self.back_rows[callee]..self.back_rows[callee + 1]]
            .iter()
            .map(|index| &self.all[*index])
    }

    /// Returns all flows.
    pub fn all(&self) -> &[Carrier] {
        &self.all
    }
}

fn carrier(caller: Node, callee: Node, count: Option<f64>) -> Carrier {
    Carrier {
        caller,
        callee,
        count,
        fixed: None,
        share: 0.0,
    }
}

fn seen_callees(
    graph: &Graph,
    losses: &Losses,
    caller: Node,
    onset: UnixMs,
    found: &mut Vec<Carrier>,
) {
    let calls = graph.calls_of(caller);
    // A world that was empty before the onset knows no old calls, so none of its calls is new.
    let is_known = calls
        .iter()
        .any(|call| call.first_seen.is_none_or(|seen| seen <= onset));
    let carries = |call: &&Call| {
        !call.asynchronous && (!is_known || call.first_seen.is_none_or(|seen| seen <= onset))
    };
    let mut unseen: Vec<(Node, usize)> = Vec::new();
    for call in calls.iter().filter(carries) {
        if losses.is_measured[call.to] {
            found.push(carrier(caller, call.to, call.count));
        } else {
            unseen.push((call.to, UNSEEN_HOPS));
        }
    }
    let mut visited = Vec::new();
    while let Some((node, hops)) = unseen.pop() {
        if hops == 0 || visited.len() >= MAX_REPLACEMENTS || visited.contains(&node) {
            continue;
        }
        visited.push(node);
        for call in graph.calls_of(node).iter().filter(carries) {
            if call.to == caller {
                continue;
            }
            if losses.is_measured[call.to] {
                found.push(carrier(caller, call.to, None));
            } else {
                unseen.push((call.to, hops - 1));
            }
        }
    }
}
