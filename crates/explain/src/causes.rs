//! Step 5: causes that an entity shows itself, apart from its loss.
//!
//! Hard evidence names a family: a condition, an exit reason, an event, a change. Soft evidence is
//! a value that left its range for two windows. State counts before events, and events only count
//! for an entity that is unhealthy now.

use std::collections::BTreeMap;

use anomalyzer_domain::{UnixMs, one_line};
use anomalyzer_world::{Change, ChangeKind, Relation, World};

use crate::cause::Cause;
use crate::changes::Changes;
use crate::family::Family;
use crate::graph::{Graph, Node};
use crate::hard_signs::hard_signs;
use crate::input::{LogPattern, Resource, ResourceKind};
use crate::limits::Limits;
use crate::network::NetworkLoss;
use crate::numbers::pair;
use crate::output::Weight;
use crate::signs::lasting;

/// Number of lines that the other side's rate leads one to expect, from which their absence says
/// something: with five expected, none happens by chance in less than one of a hundred (Poisson).
const MIN_EXPECTED_LINES: f64 = 5.0;

/// Causes by entity.
#[derive(Default)]
pub struct Causes(BTreeMap<Node, Vec<Cause>>);

impl Causes {
    /// Collects the causes of all entities.
    pub fn new(
        graph: &Graph,
        world: &World,
        changes: &Changes,
        network: &NetworkLoss,
        signs: &Signs,
    ) -> Self {
        let mut causes = Self::default();
        causes.add_states(graph, world, signs);
        for (node, change) in changes.suspects() {
            if let Some(family) = family_of(change) {
                let text = format!("{} changed", change.kind.word());
                causes.add(node, Cause::hard(family, text));
            }
        }
        causes.add_resources(graph, signs);
        causes.add_network(graph, network);
        for pattern in signs.logs {
            if let (Some(node), Some(cause)) = (
                graph.node(&pattern.entity),
                log_cause(pattern, signs.limits),
            ) {
                causes.add(node, cause);
            }
        }
        causes
    }

    fn add_states(&mut self, graph: &Graph, world: &World, signs: &Signs) {
        let mut owner: BTreeMap<Node, Node> = BTreeMap::new();
        for (from, to, relation) in &graph.relations {
            if *relation == Relation::OwnedBy {
                owner.entry(*from).or_insert(*to);
            }
        }
        for node in 0..graph.len() {
            let entity = graph.id(node).and_then(|id| world.entity(id));
            let Some(entity) = entity else { continue };
            for cause in hard_signs(entity, signs.onset, signs.limits) {
                // A replica's state is evidence at its owners too. A cycle of owners ends.
                let mut at = node;
                for _ in 0..signs.limits.hops {
                    let Some(next) = owner.get(&at) else { break };
                    self.add(*next, cause.clone());
                    at = *next;
                }
                self.add(node, cause);
            }
        }
    }

    fn add_resources(&mut self, graph: &Graph, signs: &Signs) {
        for resource in signs.resources {
            let usual = resource.usual.and_then(|usual| usual.checked());
            let samples = &resource.samples[..resource.samples.len().min(signs.windows)];
            let sign = usual.and_then(|usual| lasting(samples, usual));
            let (Some(node), Some(sign)) = (graph.node(&resource.entity), sign) else {
                continue;
            };
            let (value, high) = pair(sign.value, sign.high);
            let text = format!(
                "{} {value} is above {high}, its usual maximum, in {} windows",
                resource.kind.word(),
                sign.windows
            );
            self.add(
                node,
                Cause {
                    weight: Weight::Soft,
                    family: Some(family_of_resource(resource.kind)),
                    text,
                    widths: sign.widths,
                    lasts: true,
                },
            );
        }
    }

    fn add_network(&mut self, graph: &Graph, network: &NetworkLoss) {
        for gap in &network.gaps {
            let (from, to) = (&graph.keys[gap.from].name, &graph.keys[gap.to].name);
            let (value, high) = pair(gap.sign.value, gap.sign.high);
            let text = format!(
                "time between client and server of calls from {from} to {to}: {value} s is above \
                 {high} s, the usual maximum, in {} windows",
                gap.sign.windows
            );
            let cause = Cause {
                weight: Weight::Soft,
                family: Some(Family::Network),
                text,
                widths: gap.sign.widths,
                lasts: gap.is_network,
            };
            self.add(gap.blamed, cause);
        }
        for missing in &network.missing {
            let text = format!(
                "calls from {} fell to {:.1} in a window, usually {:.1}",
                graph.keys[missing.from].name, missing.calls, missing.usual
            );
            self.add(
                missing.to,
                Cause {
                    weight: Weight::Soft,
                    family: Some(Family::Unreachable),
                    text,
                    widths: 0.0,
                    lasts: false,
                },
            );
        }
    }

    /// Adds a cause. Equal texts of one entity are kept once.
    pub fn add(&mut self, node: Node, cause: Cause) {
        let causes = self.0.entry(node).or_default();
        if causes.iter().all(|known| known.text != cause.text) {
            causes.push(cause);
        }
    }

    /// Returns the causes of an entity: hard ones first, then the largest deviations.
    pub fn of(&self, node: Node) -> Vec<&Cause> {
        let mut causes: Vec<&Cause> = self.0.get(&node).into_iter().flatten().collect();
        causes.sort_by(|a, b| {
            (a.weight, b.widths)
                .partial_cmp(&(b.weight, a.widths))
                .unwrap_or(std::cmp::Ordering::Equal)
                .then_with(|| a.text.cmp(&b.text))
        });
        causes
    }

    /// Returns the entities with causes.
    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        self.0.keys().copied()
    }

    /// Returns true if the entity shows hard evidence.
    pub fn is_hard(&self, node: Node) -> bool {
        let causes = self.0.get(&node).into_iter().flatten();
        causes.into_iter().any(|cause| cause.weight == Weight::Hard)
    }

    /// Returns the largest lasting deviation of an entity, in widths of its range.
    pub fn lasting_widths(&self, node: Node) -> Option<f64> {
        let causes = self.0.get(&node).into_iter().flatten();
        let widths = causes.filter(|cause| cause.lasts).map(|cause| cause.widths);
        widths.max_by(f64::total_cmp)
    }
}

/// Signs of a cause in the symptoms.
pub struct Signs<'a> {
    pub onset: UnixMs,
    pub windows: usize,
    pub resources: &'a [&'a Resource],
    pub logs: &'a [&'a LogPattern],
    pub limits: &'a Limits,
}

fn family_of(change: &Change) -> Option<Family> {
    match change.kind {
        ChangeKind::Revision | ChangeKind::Deploy => Some(Family::BadRelease),
        ChangeKind::Config | ChangeKind::Flag => Some(Family::ConfigChange),
        ChangeKind::Replicas => Some(Family::ScaledDown),
        ChangeKind::Autoscaler => Some(Family::Autoscaler),
        ChangeKind::Policy | ChangeKind::Routing => Some(Family::Unreachable),
        ChangeKind::Quota => Some(Family::Quota),
        ChangeKind::Node => Some(Family::Node),
        ChangeKind::Operation | ChangeKind::Other => None,
    }
}

fn family_of_resource(kind: ResourceKind) -> Family {
    match kind {
        ResourceKind::Cpu => Family::Cpu,
        ResourceKind::Memory => Family::Memory,
        ResourceKind::Pool => Family::Pool,
        ResourceKind::Disk => Family::Disk,
        ResourceKind::Queue => Family::Queue,
    }
}

/// Returns evidence if a template appeared or disappeared, relative to the requests.
fn log_cause(pattern: &LogPattern, limits: &Limits) -> Option<Cause> {
    let counts = [
        pattern.lines_before,
        pattern.requests_before,
        pattern.lines_since,
        pattern.requests_since,
    ];
    let [lines_before, requests_before, lines_since, requests_since] = counts;
    let is_usable = counts
        .iter()
        .all(|count| count.is_finite() && *count >= 0.0);
    if !is_usable || requests_before <= 0.0 || requests_since <= 0.0 {
        return None;
    }
    let template = one_line(&pattern.template, limits.text);
    let text = if lines_since == 0.0
        && lines_before / requests_before * requests_since >= MIN_EXPECTED_LINES
    {
        format!("log line disappeared: \"{template}\", {lines_before} times before")
    } else if lines_before == 0.0
        && lines_since / requests_since * requests_before >= MIN_EXPECTED_LINES
    {
        format!("log line appeared: \"{template}\", {lines_since} times")
    } else {
        return None;
    };
    Some(Cause {
        weight: Weight::Soft,
        family: Some(Family::CodeOrConfig),
        text,
        widths: 0.0,
        lasts: false,
    })
}
