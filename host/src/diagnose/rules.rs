//! Rules analyst: proposes the first steps of a person on call. It decides at once if there is no
//! usable language model. The result depends only on the event and the offered actions.

use serde_json::{Map, Value, json};

use super::evidence::{serde_name, short};
use crate::domain::{
    Direction, EvidenceKind, Finding, IncidentEvent, IncidentEventKind, Meaning, Phase, Proposal,
    solutions,
};

/// Input of the rules.
struct View<'a> {
    event: &'a IncidentEvent,
    active: Vec<&'a Finding>,
}

impl View<'_> {
    fn has(&self, meaning: Meaning, direction: Direction) -> Option<&Finding> {
        self.active
            .iter()
            .find(|finding| finding.meaning == meaning && finding.direction == direction)
            .copied()
    }

    fn gathered(&self, kind: EvidenceKind) -> bool {
        self.event
            .evidence
            .iter()
            .any(|evidence| evidence.kind == kind)
    }
}

/// Returns proposals, best first, limited to the offered actions. If no rule fits, proposes
/// `alarm`, or `no_action` if the incident is over.
pub(super) fn propose(event: &IncidentEvent, offered: &[String]) -> Vec<Proposal> {
    let view = View {
        event,
        active: event
            .incident
            .findings
            .iter()
            .filter(|f| f.phase != Phase::Clear)
            .collect(),
    };
    let mut proposals: Vec<Proposal> = wanted(&view)
        .into_iter()
        .filter(|proposal| offered.contains(&proposal.solution_type))
        .collect();
    if proposals.is_empty() {
        let last = if view.active.is_empty() {
            solutions::NO_ACTION
        } else {
            solutions::ALARM
        };
        proposals.push(proposal(
            last,
            0.3,
            "no rule fits, or what fits is not offered for this target".into(),
        ));
    }
    proposals
}

fn wanted(view: &View<'_>) -> Vec<Proposal> {
    use Direction::{Above, Below};
    use Meaning::{Errors, Latency, Memory, Saturation, Traffic};

    if !view.event.incident.is_open() || view.active.is_empty() {
        let worst = view
            .event
            .incident
            .findings
            .first()
            .map(tell)
            .unwrap_or_default();
        return vec![proposal(
            solutions::NO_ACTION,
            0.9,
            format!("it went away by itself: {worst}"),
        )];
    }
    if let Some(silent) = view
        .active
        .iter()
        .find(|finding| finding.meaning == Meaning::Coverage)
    {
        let why = format!(
            "{}; missing data is not zero and justifies nothing but telling people",
            silent.reason
        );
        return vec![proposal(solutions::ALARM, 0.9, why)];
    }
    let again = view.event.kind == IncidentEventKind::Gathered;
    if again && !view.gathered(EvidenceKind::Logs) {
        let why = format!("what was tried before did not help: {}", tell_all(view));
        return vec![proposal(solutions::ALARM, 0.8, why)];
    }
    if let Some(memory) = view.has(Memory, Above) {
        let why = format!(
            "memory grows beyond what is usual, as a leak does; a restart frees it: {}",
            tell(memory)
        );
        return vec![proposal(solutions::RESTART_SERVICE, 0.8, why), alarm(view)];
    }
    let slow = view
        .has(Latency, Above)
        .or_else(|| view.has(Saturation, Above));
    if let (Some(slow), Some(traffic)) = (slow, view.has(Traffic, Above)) {
        let why = format!(
            "more requests arrive than are served in time: {}; {}",
            tell(traffic),
            tell(slow)
        );
        return vec![
            proposal(solutions::SCALE_UP, 0.85, why),
            rate_limit(traffic),
            alarm(view),
        ];
    }
    if let Some(errors) = view.has(Errors, Above) {
        if view.gathered(EvidenceKind::Logs) {
            let why = format!(
                "requests fail without more traffic, and the logs were read: {}",
                tell(errors)
            );
            return vec![proposal(solutions::RESTART_SERVICE, 0.5, why), alarm(view)];
        }
        let why = format!(
            "requests fail without more traffic; the logs may say why: {}",
            tell(errors)
        );
        return vec![proposal(solutions::CHECK_LOGS, 0.7, why), alarm(view)];
    }
    if let Some(slow) = slow {
        let why = format!(
            "it became slow without more traffic, as a stuck process does: {}",
            tell(slow)
        );
        return vec![
            proposal(solutions::RESTART_SERVICE, 0.6, why),
            proposal(solutions::SCALE_UP, 0.4, tell(slow)),
        ];
    }
    if let (Some(traffic), Some(_)) = (view.has(Traffic, Below), view.has(Saturation, Below)) {
        let why = format!(
            "less is asked for than there is room for: {}",
            tell(traffic)
        );
        return vec![proposal(solutions::SCALE_DOWN, 0.5, why), alarm(view)];
    }
    if view.has(Traffic, Above).is_some() && view.active.len() == 1 {
        let why = format!("more traffic, served in time so far: {}", tell_all(view));
        return vec![proposal(solutions::NO_ACTION, 0.6, why)];
    }
    if !again && !view.event.incident.foreign {
        let why = format!("none of the usual causes is seen: {}", tell_all(view));
        return vec![proposal(solutions::INVESTIGATE, 0.4, why), alarm(view)];
    }
    vec![alarm(view)]
}

fn alarm(view: &View<'_>) -> Proposal {
    proposal(solutions::ALARM, 0.5, tell_all(view))
}

fn rate_limit(traffic: &Finding) -> Proposal {
    let mut proposal = proposal(
        solutions::RATE_LIMIT,
        0.4,
        format!("let in what can be served: {}", tell(traffic)),
    );
    if let Some(high) = traffic
        .expected
        .and_then(|expected| expected.high)
        .filter(|high| *high > 0.0)
    {
        proposal
            .parameters
            .insert("requests_per_second".into(), json!(high.ceil() as u64));
    }
    proposal
}

fn proposal(solution: &str, confidence: f64, explanation: String) -> Proposal {
    Proposal {
        solution_type: solution.to_owned(),
        parameters: Map::<String, Value>::new(),
        explanation,
        confidence,
    }
}

fn tell_all(view: &View<'_>) -> String {
    view.active
        .iter()
        .take(4)
        .map(|finding| tell(finding))
        .collect::<Vec<_>>()
        .join("; ")
}

fn tell(finding: &Finding) -> String {
    let observed = finding
        .observed
        .map_or_else(|| "no value".to_owned(), short);
    let bound = finding
        .expected
        .and_then(|expected| match finding.direction {
            Direction::Below => expected
                .low
                .map(|low| format!(", expected at least {}", short(low))),
            _ => expected
                .high
                .map(|high| format!(", expected at most {}", short(high))),
        });
    format!(
        "{} is {} expected ({observed}{})",
        finding.signal,
        serde_name(&finding.direction),
        bound.unwrap_or_default()
    )
}
