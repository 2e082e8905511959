//! Groups: a set of connected incidents is divided among the roots that explain them.

use anomalyzer_domain::Meaning;

use crate::confidence::{Grounds, advice, confidence};
use crate::evidence::{also_seen, evidence, not_seen};
use crate::graph::Node;
use crate::input::OpenIncident;
use crate::output::{
    Alone, AloneReason, ChangeSuspect, Group, GuessedCall, Member, RootKind, RootLoss, RunnerUp,
};
use crate::rank::{Candidate, Side};
use crate::round::{Context, Placed, Round};
use crate::wording::wording;

/// Part of its own loss below which an incident is explained.
const EXPLAINED_BELOW: f64 = 0.5;

/// Divides connected incidents into groups. Each round takes the root of the rest, and the
/// incidents that it explains.
pub fn explain_set(context: &Context, incidents: &[Placed]) -> (Vec<Group>, Vec<Alone>) {
    let (mut groups, mut alone) = (Vec::new(), Vec::new());
    let (about_coverage, mut rest): (Vec<Placed>, Vec<Placed>) = incidents
        .iter()
        .partition(|(incident, _)| is_about_coverage(incident));
    alone.extend(
        about_coverage
            .iter()
            .map(|(incident, _)| lone(incident, AloneReason::Coverage)),
    );
    for _ in 0..context.limits.candidates {
        if rest.is_empty() {
            break;
        }
        let round = Round::new(context, &rest);
        let Some(root) = round
            .found
            .first()
            .filter(|candidate| candidate.is_material)
        else {
            break;
        };
        let (members, others) = round.members(root, &rest);
        if members.is_empty() {
            break;
        }
        groups.push(round.group(root, &members));
        rest = others;
    }
    for (incident, node) in rest {
        match own_root(context, incident, node) {
            Some(group) => groups.push(group),
            None if context.windows == 0 => alone.push(lone(incident, AloneReason::TooEarly)),
            None => alone.push(lone(incident, AloneReason::NothingBeyondRange)),
        }
    }
    (groups, alone)
}

fn is_about_coverage(incident: &OpenIncident) -> bool {
    let mut findings = incident.findings.iter().peekable();
    findings.peek().is_some() && findings.all(|finding| finding.meaning == Meaning::Coverage)
}

fn lone(incident: &OpenIncident, reason: AloneReason) -> Alone {
    Alone {
        incident: incident.id.clone(),
        target: incident.target.clone(),
        reason,
    }
}

impl<'a> Round<'a> {
    /// Splits incidents into members of the root's group and others.
    fn members<'b>(
        &self,
        root: &Candidate,
        incidents: &[Placed<'b>],
    ) -> (Vec<(Placed<'b>, Member)>, Vec<Placed<'b>>) {
        let ends = root
            .fate
            .as_ref()
            .map_or_else(|| vec![root.node], |fate| fate.members.clone());
        let ways: Vec<(Node, Vec<Node>)> = ends
            .iter()
            .map(|end| (*end, self.context.graph.ways_to(*end, self.context.guessed)))
            .collect();
        let shares = self.shares_at_targets(&ends);
        let (mut members, mut others) = (Vec::new(), Vec::new());
        for (incident, node) in incidents {
            let path = ways.iter().find_map(|(end, next)| path(next, *node, *end));
            let Some(path) = path else {
                others.push((*incident, *node));
                continue;
            };
            let is_root = ends.contains(node);
            let own_part = self.own_part(*node);
            let keys = path
                .iter()
                .map(|node| self.context.graph.keys[*node].clone());
            let member = Member {
                incident: incident.id.clone(),
                target: incident.target.clone(),
                share: if is_root { own_part } else { shares[*node] },
                explained: is_root || self.is_explained(root, *node),
                path: keys.take(self.context.limits.listed).collect(),
            };
            members.push(((*incident, *node), member));
        }
        // A root without any explained incident is the best guess for all of them. Otherwise the
        // incidents that it does not explain look for a root of their own.
        if members.iter().any(|(_, member)| member.explained) {
            let (explained, rest): (Vec<_>, Vec<_>) = members
                .into_iter()
                .partition(|(_, member)| member.explained);
            others.extend(rest.into_iter().map(|(placed, _)| placed));
            members = explained;
        }
        (members, others)
    }

    /// Returns true if most of the loss of an incident's entity comes from others, or if the root
    /// shows a lasting cause and the entity shows none.
    fn is_explained(&self, root: &Candidate, node: Node) -> bool {
        let causes = self.context.causes;
        let has_cause = causes.is_hard(node) || causes.lasting_widths(node).is_some();
        (root.lasting.is_some() && !has_cause)
            || self
                .own_part(node)
                .is_none_or(|part| part < EXPLAINED_BELOW)
    }

    /// Returns the part of each incident's loss that comes from the root.
    fn shares_at_targets(&self, ends: &[Node]) -> Vec<Option<f64>> {
        let mut shares = vec![None; self.context.graph.len()];
        for side in &self.sides {
            for end in ends {
                let parts = side.flow.parts_of(&side.own.carriers, *end);
                for target in &self.targets {
                    let total = side.own.total[*target];
                    if total > 0.0 {
                        let share: f64 = (side.own.own[*end] * parts[*target] / total).min(1.0);
                        let sum: f64 = shares[*target].unwrap_or(0.0);
                        shares[*target] = Some((sum + share).min(1.0));
                    }
                }
            }
        }
        shares
    }

    /// Returns the part of an entity's loss that is its own; `None` without a loss.
    fn own_part(&self, node: Node) -> Option<f64> {
        let parts = self.sides.iter().filter(|side| side.own.total[node] > 0.0);
        let parts = parts.map(|side| (side.own.own[node] / side.own.total[node]).min(1.0));
        parts.max_by(f64::total_cmp)
    }

    fn group(&self, root: &Candidate, members: &[(Placed, Member)]) -> Group {
        let context = self.context;
        let key = context.graph.keys[root.node];
        let change = context.changes.of(root.node);
        let evidence = evidence(self, root, members);
        let not_seen = not_seen(self, root);
        let guessed = self.guessed(members);
        let confidence = confidence(&self.grounds(root, !guessed.is_empty()));
        let limit = context.limits.listed;
        // A shared fate repeats the shares of its members.
        let is_counted = |candidate: &&Candidate| {
            let fate = root.fate.as_ref();
            candidate.node != root.node
                && candidate.fate.is_none()
                && fate.is_none_or(|fate| !fate.members.contains(&candidate.node))
        };
        let runners = self.found.iter().filter(is_counted);
        let runners =
            runners.filter(|candidate| candidate.share > 0.0 || candidate.lasting.is_some());
        let causes = context.causes.of(root.node);
        let mut group = Group {
            root: key.clone(),
            kind: if root.fate.is_some() {
                RootKind::SharedFate
            } else {
                RootKind::Entity
            },
            family: causes.iter().find_map(|cause| cause.family),
            confidence,
            advice: advice(confidence),
            share: Some(root.share),
            losses: self.losses(root),
            members: members.iter().map(|(_, member)| member.clone()).collect(),
            evidence,
            change: change.map(|change| ChangeSuspect {
                weight: context.changes.weight(change),
                change: change.clone(),
            }),
            also_changed: context
                .changes
                .others(change)
                .into_iter()
                .take(limit)
                .cloned()
                .collect(),
            runners_up: runners
                .take(context.limits.candidates)
                .map(|candidate| RunnerUp {
                    entity: context.graph.keys[candidate.node].clone(),
                    share: candidate.share,
                })
                .collect(),
            also_seen: also_seen(self, root),
            not_seen,
            guessed_calls: guessed,
            text: String::new(),
        };
        group.text = wording(self, root, &group);
        group
    }

    fn losses(&self, root: &Candidate) -> Vec<RootLoss> {
        let nodes = root
            .fate
            .as_ref()
            .map_or_else(|| vec![root.node], |fate| fate.members.clone());
        let losses = self.sides.iter().map(|side| RootLoss {
            meaning: side.own.losses.meaning,
            total: nodes.iter().map(|node| side.own.total[*node]).sum(),
            own: nodes.iter().map(|node| side.own.own[*node]).sum(),
        });
        losses
            .filter(|loss| loss.total > 0.0 || loss.own > 0.0)
            .collect()
    }

    /// Returns the guessed calls on the ways of the members.
    fn guessed(&self, members: &[(Placed, Member)]) -> Vec<GuessedCall> {
        let graph = self.context.graph;
        let calls = self.context.guessed.iter().map(|(from, to)| GuessedCall {
            from: graph.keys[*from].clone(),
            to: graph.keys[*to].clone(),
        });
        let on_way = |call: &GuessedCall| {
            members.iter().any(|(_, member)| {
                member
                    .path
                    .windows(2)
                    .any(|step| (&step[0], &step[1]) == (&call.from, &call.to))
            })
        };
        calls.filter(on_way).collect()
    }

    fn grounds(&self, root: &Candidate, is_guessed: bool) -> Grounds {
        let context = self.context;
        let causes = context.causes.of(root.node);
        let is_hard = root.is_hard;
        let effects = usize::from(root.lasting.is_some());
        Grounds {
            share: Some(root.share),
            beyond: self.beyond(),
            is_own_target_with_callees: self.targets.contains(&root.node)
                && !context.graph.calls_of(root.node).is_empty(),
            has_gaps: self.has_gaps(root),
            lacks_counts: self
                .sides
                .iter()
                .any(|side| side.own.losses.lacks_counts[root.node]),
            is_guessed,
            is_hard,
            // A lasting cause beside its lasting effect are two signs.
            soft: if effects > 0 {
                causes.len().max(1) + effects
            } else {
                0
            },
        }
    }

    /// Returns the part of the incidents' excess that is beyond their usual range.
    fn beyond(&self) -> f64 {
        let parts = self.sides.iter().filter_map(|side| {
            let losses = &side.own.losses;
            let sum = |of: &dyn Fn(Node) -> f64| -> f64 {
                self.targets.iter().map(|node| of(*node)).sum()
            };
            let (loss, excess) = (
                sum(&|node| losses.total(node)),
                sum(&|node| losses.excess[node]),
            );
            (excess > 0.0).then_some((loss / excess).min(1.0))
        });
        parts.max_by(f64::total_cmp).unwrap_or(0.0)
    }

    fn has_gaps(&self, root: &Candidate) -> bool {
        let is_uncovered = self.context.uncovered.contains(&root.node);
        let has_gap = |side: &Side| {
            let losses = &side.own.losses;
            side.own.is_filled[root.node]
                || losses.has_gap(root.node)
                || self.targets.iter().any(|target| losses.has_gap(*target))
        };
        is_uncovered || self.sides.iter().any(has_gap)
    }
}

/// Returns the way from `start` to `end`, both included.
fn path(next: &[Node], start: Node, end: Node) -> Option<Vec<Node>> {
    let mut path = vec![start];
    let mut at = start;
    while at != end {
        at = next[at];
        if at == usize::MAX {
            return None;
        }
        path.push(at);
    }
    Some(path)
}

/// Makes the entity of an incident its own root, if there is evidence but no loss to divide.
fn own_root(context: &Context, incident: &OpenIncident, node: Node) -> Option<Group> {
    let causes = context.causes.of(node);
    let is_measured = |meaning: Meaning| {
        let side = context
            .sides
            .iter()
            .find(|side| side.losses.meaning == meaning);
        side.is_some_and(|side| side.losses.is_measured[node])
    };
    // A latency inside of its measured range is no evidence of anything.
    let mut signs: Vec<Meaning> = Vec::new();
    for finding in &incident.findings {
        if !is_measured(finding.meaning) && !signs.contains(&finding.meaning) {
            signs.push(finding.meaning);
        }
    }
    let grounds = Grounds {
        is_hard: context.causes.is_hard(node),
        soft: causes.len() + signs.len(),
        ..Grounds::default()
    };
    let confidence = confidence(&grounds);
    if confidence <= 0.0 {
        return None;
    }
    let member = Member {
        incident: incident.id.clone(),
        target: incident.target.clone(),
        share: None,
        explained: true,
        path: vec![incident.target.clone()],
    };
    let change = context.changes.of(node);
    let mut group = Group {
        root: incident.target.clone(),
        kind: RootKind::OwnTarget,
        family: causes.iter().find_map(|cause| cause.family),
        confidence,
        advice: advice(confidence),
        share: None,
        losses: Vec::new(),
        members: vec![member],
        evidence: crate::evidence::of_causes(context, node),
        change: change.map(|change| ChangeSuspect {
            weight: context.changes.weight(change),
            change: change.clone(),
        }),
        also_changed: Vec::new(),
        runners_up: Vec::new(),
        also_seen: Vec::new(),
        not_seen: Vec::new(),
        guessed_calls: Vec::new(),
        text: String::new(),
    };
    crate::evidence::add_findings(&mut group.evidence, incident);
    group.text = crate::wording::own_target_wording(&group);
    Some(group)
}
