//! The steps of an explanation, from top to bottom.

use std::cmp::Ordering;

use anomalyzer_domain::Meaning;
use anomalyzer_world::{Change, World};

use crate::causes::{Causes, Signs};
use crate::changes::Changes;
use crate::graph::{Graph, Node};
use crate::group::explain_set;
use crate::guess::guess;
use crate::input::{CallMeasure, LogPattern, Measure, OpenIncident, Resource, Symptoms};
use crate::join::join;
use crate::limits::Limits;
use crate::loss::Losses;
use crate::network::NetworkLoss;
use crate::output::{Alone, AloneReason, Explanation};
use crate::own_loss::{OwnLosses, Scope};
use crate::round::Context;
use crate::shared_fate::{SharedFate, add_revision_splits, shared_fates};
use crate::shares::GuessedFlow;

/// Explains open incidents: finds their root, and what they lost through it.
///
/// The function has no other input than its arguments: no clock, no I/O and no randomness. The
/// order of the lists does not matter, and ties are broken by name.
///
/// The method is *own loss*: each service's loss beyond its usual range, minus the loss of the
/// services that it calls. `docs/explanation/root-cause.md` describes it and its measurements.
pub fn explain(
    world: &World,
    symptoms: &Symptoms,
    changes: &[Change],
    limits: &Limits,
) -> Explanation {
    let input = Input::new(symptoms, limits);
    let graph = Graph::new(world, symptom_keys(&input), symptoms.at);
    let Some(onset) = input.incidents.iter().map(|incident| incident.onset).min() else {
        return Explanation::default();
    };
    let targets: Vec<Node> = input
        .incidents
        .iter()
        .filter_map(|incident| graph.node(&incident.target))
        .collect();
    let mut is_alarm = vec![false; graph.len()];
    for target in &targets {
        is_alarm[*target] = true;
    }
    let network = NetworkLoss::new(&graph, input.windows, &input.calls);
    let scope = Scope {
        onset,
        is_alarm: &is_alarm,
    };
    let mut guessed: Vec<(Node, Node)> = Vec::new();
    let sides = [Meaning::Latency, Meaning::Errors].map(|meaning| {
        let measures = input
            .measures
            .iter()
            .filter(|measure| measure.meaning == meaning);
        let measures: Vec<&Measure> = measures.copied().collect();
        let losses = Losses::new(&graph, meaning, input.windows, &measures);
        if !is_asked(&input.incidents, meaning) {
            return OwnLosses::undivided(&graph, losses);
        }
        let (own, more) = own_losses(&graph, losses, &network, &scope, &targets);
        guessed.extend(more);
        own
    });
    guessed.sort_unstable();
    guessed.dedup();
    let near = Changes::new(&graph, changes, onset);
    let signs = Signs {
        onset,
        windows: input.windows,
        resources: &input.resources,
        logs: &input.logs,
        limits,
    };
    let mut causes = Causes::new(&graph, world, &near, &network, &signs);
    let fates = fates(&graph, world, &sides, &is_alarm, &mut causes);
    let ill = |node: Node| is_alarm[node] || sides.iter().any(|side| side.total[node] > 0.0);
    let is_ill: Vec<bool> = (0..graph.len()).map(ill).collect();
    let shared: Vec<Vec<Node>> = fates.iter().map(|fate| fate.members.clone()).collect();
    let sets = join(&graph, &targets, &is_ill, &shared, limits);
    let context = Context {
        graph: &graph,
        sides: &sides,
        causes: &causes,
        changes: &near,
        fates: &fates,
        guessed: &guessed,
        uncovered: input
            .uncovered
            .iter()
            .filter_map(|key| graph.node(key))
            .collect(),
        windows: input.windows,
        limits,
    };
    assemble(&context, &input, &targets, &sets)
}

/// Returns true if an incident is about this meaning, or may have any loss.
fn is_asked(incidents: &[&OpenIncident], meaning: Meaning) -> bool {
    let about = |incident: &OpenIncident, meaning: Meaning| {
        incident
            .findings
            .iter()
            .any(|finding| finding.meaning == meaning)
    };
    incidents.iter().any(|incident| {
        let has_loss = about(incident, Meaning::Latency) || about(incident, Meaning::Errors);
        about(incident, meaning) || !has_loss
    })
}

/// Number of rounds of guessing. Each round finds a call further down; two hidden calls in a row
/// are rare, and each guess rests on the one before.
const GUESS_ROUNDS: usize = 2;

/// Computes own losses, and guesses calls that no source reports.
fn own_losses(
    graph: &Graph,
    losses: Losses,
    network: &NetworkLoss,
    scope: &Scope,
    targets: &[Node],
) -> (OwnLosses, Vec<(Node, Node)>) {
    let mut guessed: Vec<GuessedFlow> = Vec::new();
    let mut own = OwnLosses::new(graph, losses, network, scope, &guessed);
    for _ in 0..GUESS_ROUNDS {
        let more = guess(graph, &own, targets, &guessed);
        if more.is_empty() {
            break;
        }
        guessed.extend(more);
        own = OwnLosses::new(graph, own.losses, network, scope, &guessed);
    }
    let calls = guessed
        .iter()
        .map(|flow| (flow.caller, flow.callee))
        .collect();
    (own, calls)
}

fn assemble(
    context: &Context,
    input: &Input,
    targets: &[Node],
    sets: &[Vec<usize>],
) -> Explanation {
    let mut explanation = Explanation::default();
    for set in sets {
        let incidents: Vec<(&OpenIncident, Node)> = set
            .iter()
            .map(|index| (input.incidents[*index], targets[*index]))
            .collect();
        let (groups, alone) = explain_set(context, &incidents);
        explanation.alone.extend(alone);
        for group in groups {
            if explanation.groups.len() < context.limits.groups {
                explanation.groups.push(group);
                continue;
            }
            let beyond = group.members.into_iter().map(|member| Alone {
                incident: member.incident,
                target: member.target,
                reason: AloneReason::Bound,
            });
            explanation.alone.extend(beyond);
        }
    }
    explanation
}

fn fates(
    graph: &Graph,
    world: &World,
    sides: &[OwnLosses; 2],
    is_alarm: &[bool],
    causes: &mut Causes,
) -> Vec<SharedFate> {
    if graph.relations.is_empty() {
        return Vec::new();
    }
    let health = |node: Node| {
        let entity = graph.id(node).and_then(|id| world.entity(id));
        let has_state = entity.is_some_and(|entity| {
            !entity.state.conditions.is_empty() || !entity.state.containers.is_empty()
        });
        let is_bad = entity
            .is_some_and(|entity| crate::hard_signs::is_unhealthy(&entity.key.kind, &entity.state));
        let lost = sides.iter().any(|side| side.losses.windows_out[node] > 0);
        let is_watched = has_state || sides.iter().any(|side| side.losses.is_measured[node]);
        (is_watched || is_alarm[node]).then_some(is_bad || lost || is_alarm[node])
    };
    add_revision_splits(graph, world, &health, causes);
    shared_fates(graph, &health)
}

/// Input in a canonical order and without repetitions.
struct Input<'a> {
    windows: usize,
    incidents: Vec<&'a OpenIncident>,
    measures: Vec<&'a Measure>,
    calls: Vec<&'a CallMeasure>,
    resources: Vec<&'a Resource>,
    logs: Vec<&'a LogPattern>,
    uncovered: &'a [anomalyzer_world::EntityKey],
}

impl<'a> Input<'a> {
    fn new(symptoms: &'a Symptoms, limits: &Limits) -> Self {
        // Two series of one entity are ordered by their values, so that any order of the input
        // keeps the same one.
        let mut incidents: Vec<&OpenIncident> = symptoms.incidents.iter().collect();
        incidents.sort_by(|a, b| {
            let by_name = (&a.target, &a.id, a.onset).cmp(&(&b.target, &b.id, b.onset));
            by_name.then_with(|| debug(a).cmp(&debug(b)))
        });
        incidents.dedup_by(|a, b| (&a.target, &a.id) == (&b.target, &b.id));
        let meaning = |measure: &Measure| measure.meaning == Meaning::Errors;
        Self {
            windows: symptoms.windows.min(limits.windows),
            incidents,
            measures: canonical(&symptoms.measures, |a, b| {
                (&a.entity, meaning(a)).cmp(&(&b.entity, meaning(b)))
            }),
            calls: canonical(&symptoms.calls, |a, b| {
                (&a.from, &a.to).cmp(&(&b.from, &b.to))
            }),
            resources: canonical(&symptoms.resources, |a, b| {
                (&a.entity, a.kind).cmp(&(&b.entity, b.kind))
            }),
            logs: canonical(&symptoms.logs, |a, b| {
                (&a.entity, &a.template).cmp(&(&b.entity, &b.template))
            }),
            uncovered: &symptoms.uncovered,
        }
    }
}

/// Sorts items by name, and keeps one of each name.
fn canonical<T: std::fmt::Debug>(items: &[T], by_name: impl Fn(&T, &T) -> Ordering) -> Vec<&T> {
    let mut sorted: Vec<&T> = items.iter().collect();
    // The debug text holds every field, so it orders items that differ at all. It is made for
    // items of equal names only.
    sorted.sort_by(|a, b| by_name(a, b).then_with(|| debug(a).cmp(&debug(b))));
    sorted.dedup_by(|a, b| by_name(a, b) == Ordering::Equal);
    sorted
}

fn debug<T: std::fmt::Debug>(item: &T) -> String {
    format!("{item:?}")
}

fn symptom_keys<'a>(input: &Input<'a>) -> impl Iterator<Item = &'a anomalyzer_world::EntityKey> {
    let incidents = input.incidents.iter().map(|incident| &incident.target);
    let measures = input.measures.iter().map(|measure| &measure.entity);
    let resources = input.resources.iter().map(|resource| &resource.entity);
    let calls = input.calls.iter().flat_map(|call| [&call.from, &call.to]);
    let keys: Vec<_> = incidents
        .chain(measures)
        .chain(resources)
        .chain(calls)
        .collect();
    keys.into_iter()
}
