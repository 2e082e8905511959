//! Case: one incident with a known root.

use anomalyzer_domain::{Direction, FindingId, IncidentId, Meaning, Range, Target};
use anomalyzer_explain::{
    Explanation, Limits, Observation, OpenIncident, Symptoms, Usual, explain,
};
use anomalyzer_world::{EdgeSighting, Relation, Source, World};

/// Incident of a recording, with the root if there was a fault.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of the case in reports.
    pub name: String,
    /// Kind of the fault, in the words of the recording.
    pub fault: String,
    /// Root that the recording names; `None` if there was no fault.
    pub answer: Option<Target>,
    /// Known calls.
    pub calls: Vec<(Target, Target)>,
    /// Replicas or services, and the nodes that they run on.
    pub runs_on: Vec<(Target, Target)>,
    /// Symptoms at the time of the question.
    pub symptoms: Symptoms,
}

impl Case {
    /// Explains the case with the shipped function.
    pub fn explain(&self) -> Explanation {
        explain(&self.world(), &self.symptoms, &[], &Limits::default())
    }

    /// Returns the world of the case. All edges were known before the onset.
    fn world(&self) -> World {
        let mut world = World::new();
        let (source, seen) = (Source::Import, self.symptoms.at);
        let first = self
            .symptoms
            .incidents
            .iter()
            .map(|incident| incident.onset)
            .min();
        let calls = self
            .calls
            .iter()
            .map(|(from, to)| (from, to, Relation::Calls));
        let runs_on = self
            .runs_on
            .iter()
            .map(|(from, to)| (from, to, Relation::RunsOn));
        for (from, to, relation) in calls.chain(runs_on) {
            for at in [first.unwrap_or(seen), seen] {
                let sight = EdgeSighting::relation(from.clone(), to.clone(), relation, source, at);
                // A graph with an edge to itself or a nameless node says nothing there.
                let _ = world.observe_edge(sight);
            }
        }
        world
    }
}

/// Returns an incident of one finding.
pub fn incident(
    target: &Target,
    meaning: Meaning,
    onset: i64,
    usual: Option<Usual>,
    observed: Option<f64>,
) -> OpenIncident {
    let text = target.to_string();
    OpenIncident {
        id: IncidentId::derive(&[&text]),
        target: target.clone(),
        onset,
        findings: vec![Observation {
            id: FindingId::derive(&[&text]),
            meaning,
            direction: Direction::Above,
            onset,
            observed,
            expected: usual.map(|usual| Range {
                low: Some(usual.low),
                high: Some(usual.high),
            }),
        }],
    }
}
