//! Evidence of a group, each item with an id.

use anomalyzer_domain::Meaning;

use crate::graph::Node;
use crate::input::OpenIncident;
use crate::output::{EvidenceItem, Gap, Member, NotSeen, Weight};
use crate::rank::{Candidate, MIN_SHARE};
use crate::round::{Context, Placed, Round};
use crate::wording::{deviation, quantity};

/// Returns the evidence at a root: its causes, its losses, and those of the incidents.
pub fn evidence(
    round: &Round,
    root: &Candidate,
    members: &[(Placed, Member)],
) -> Vec<EvidenceItem> {
    let context = round.context;
    let mut items = of_causes(context, root.node);
    let key = context.graph.keys[root.node];
    for side in &round.sides {
        let meaning = side.own.losses.meaning;
        let nodes = root
            .fate
            .as_ref()
            .map_or_else(|| vec![root.node], |fate| fate.members.clone());
        for node in nodes {
            let (own, total) = (side.own.own[node], side.own.total[node]);
            if own > 0.0 {
                let key = context.graph.keys[node];
                let text = format!(
                    "{} lost {} beyond its usual range, {} of it by itself",
                    key.name,
                    quantity(meaning, total.max(own)),
                    quantity(meaning, own)
                );
                push(&mut items, key.clone(), Weight::Number, text);
            }
        }
    }
    if let Some(change) = context.changes.of(root.node) {
        let text = crate::wording::changed(change);
        push(&mut items, key.clone(), Weight::Number, text);
    }
    for ((incident, _), _) in members.iter().take(context.limits.listed) {
        add_findings(&mut items, incident);
    }
    items
}

/// Returns the causes that an entity shows itself.
pub fn of_causes(context: &Context, node: Node) -> Vec<EvidenceItem> {
    let mut items = Vec::new();
    for cause in context
        .causes
        .of(node)
        .into_iter()
        .take(context.limits.listed)
    {
        items.push(EvidenceItem {
            id: format!("e{}", items.len() + 1),
            entity: context.graph.keys[node].clone(),
            weight: cause.weight,
            family: cause.family,
            text: cause.text.clone(),
        });
    }
    items
}

/// Adds the findings of an incident.
pub fn add_findings(items: &mut Vec<EvidenceItem>, incident: &OpenIncident) {
    for finding in &incident.findings {
        if let Some(text) = deviation(finding) {
            let text = format!("{}: {text} ({})", incident.target.name, finding.id);
            push(items, incident.target.clone(), Weight::Number, text);
        }
    }
}

fn push(
    items: &mut Vec<EvidenceItem>,
    entity: anomalyzer_world::EntityKey,
    weight: Weight,
    text: String,
) {
    items.push(EvidenceItem {
        id: format!("e{}", items.len() + 1),
        entity,
        weight,
        family: None,
        text,
    });
}

/// Returns hard evidence at entities below the incidents that have no loss of their own.
pub fn also_seen(round: &Round, root: &Candidate) -> Vec<EvidenceItem> {
    let context = round.context;
    let is_candidate = |node: Node| round.found.iter().any(|candidate| candidate.node == node);
    let mut items = Vec::new();
    for node in context.causes.nodes() {
        if items.len() >= context.limits.listed {
            break;
        }
        if node == root.node || is_candidate(node) || !context.causes.is_hard(node) {
            continue;
        }
        for cause in context
            .causes
            .of(node)
            .iter()
            .filter(|cause| cause.weight == Weight::Hard)
        {
            items.push(EvidenceItem {
                id: format!("s{}", items.len() + 1),
                entity: context.graph.keys[node].clone(),
                weight: cause.weight,
                family: cause.family,
                text: cause.text.clone(),
            });
        }
    }
    items
}

/// Returns gaps that could hide another root: at the root, the incidents, the candidates, and the
/// entities that they call.
pub fn not_seen(round: &Round, root: &Candidate) -> Vec<NotSeen> {
    let context = round.context;
    let mut nodes: Vec<Node> = round.targets.clone();
    nodes.push(root.node);
    let close = round
        .found
        .iter()
        .filter(|candidate| candidate.share >= MIN_SHARE);
    nodes.extend(close.map(|candidate| candidate.node));
    nodes.extend(context.graph.calls_of(root.node).iter().map(|call| call.to));
    for target in round.targets.iter().take(context.limits.listed) {
        nodes.extend(context.graph.calls_of(*target).iter().map(|call| call.to));
    }
    nodes.sort_unstable();
    nodes.dedup();
    let mut gaps: Vec<NotSeen> = Vec::new();
    for node in nodes {
        let entity = context.graph.keys[node].clone();
        gaps.extend(gap(round, node).map(|reason| NotSeen { entity, reason }));
    }
    gaps.sort();
    gaps.truncate(context.limits.listed);
    gaps
}

fn gap(round: &Round, node: Node) -> Option<Gap> {
    if round.context.uncovered.contains(&node) {
        return Some(Gap::NotCovered);
    }
    let losses = || round.sides.iter().map(|side| &side.own.losses);
    if losses().all(|losses| !losses.is_measured[node]) {
        return Some(Gap::NoSeries);
    }
    if losses().any(|losses| losses.has_gap(node)) {
        return Some(Gap::MissingWindows);
    }
    losses()
        .any(|losses| losses.meaning != Meaning::Other && losses.lacks_counts[node])
        .then_some(Gap::NoCounts)
}
