//! One round of an explanation.

use anomalyzer_domain::{Meaning, UnixMs};

use crate::causes::Causes;
use crate::changes::Changes;
use crate::graph::{Graph, Node};
use crate::input::OpenIncident;
use crate::limits::Limits;
use crate::own_loss::OwnLosses;
use crate::rank::{Candidate, Side, candidates};
use crate::shared_fate::SharedFate;

/// Results of the steps before.
pub struct Context<'a> {
    pub graph: &'a Graph<'a>,
    pub sides: &'a [OwnLosses; 2],
    pub causes: &'a Causes,
    pub changes: &'a Changes<'a>,
    pub fates: &'a [SharedFate],
    pub guessed: &'a [(Node, Node)],
    pub uncovered: Vec<Node>,
    pub windows: usize,
    pub limits: &'a Limits,
}

/// Incident and the number of its entity.
pub type Placed<'a> = (&'a OpenIncident, Node);

/// One round: the candidates for the root of some incidents.
pub struct Round<'a> {
    pub context: &'a Context<'a>,
    pub targets: Vec<Node>,
    pub onset: UnixMs,
    pub sides: Vec<Side<'a>>,
    pub found: Vec<Candidate>,
}

impl<'a> Round<'a> {
    /// Finds the candidates for the root of these incidents.
    pub fn new(context: &'a Context<'a>, incidents: &[Placed]) -> Self {
        let mut targets: Vec<Node> = incidents.iter().map(|(_, node)| *node).collect();
        targets.sort_unstable();
        targets.dedup();
        let says = |meaning| {
            let mut findings = incidents
                .iter()
                .flat_map(|(incident, _)| &incident.findings);
            findings.any(|finding| finding.meaning == meaning)
        };
        // Incidents that say neither, such as full queues, may have either loss.
        let both = !says(Meaning::Latency) && !says(Meaning::Errors);
        let sides = context
            .sides
            .iter()
            .filter(|side| both || says(side.losses.meaning));
        let sides: Vec<Side> = sides.map(|side| Side::new(side, &targets)).collect();
        let depth = context.graph.depths(&targets, context.guessed);
        let found = candidates(&sides, &targets, &depth, context.causes, context.fates);
        Self {
            context,
            onset: incidents
                .iter()
                .map(|(incident, _)| incident.onset)
                .min()
                .unwrap_or_default(),
            targets,
            sides,
            found,
        }
    }
}
