//! Scores of explanations.

use anomalyzer_domain::Target;
use anomalyzer_explain::{Advice, Explanation, Group};
use serde::Serialize;

use crate::case::Case;

/// Largest difference of two shares that count as tied.
const TIE: f64 = 1e-12;

/// Number of first places that count for the wider score.
const WIDE: usize = 3;

/// Result of one case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseScore {
    /// Name of the case.
    pub case: String,
    /// Kind of the fault.
    pub fault: String,
    /// Root that the recording names; `None` without a fault.
    pub answer: Option<String>,
    /// Root of the explanation; `None` if it blames nobody.
    pub root: Option<String>,
    /// 1 if the root is right. Candidates that are tied share the point.
    pub top1: f64,
    /// 1 if the right root is among the first three.
    pub top3: f64,
    /// Confidence of the explanation.
    pub confidence: Option<f64>,
    /// Suggested handling.
    pub advice: Option<Advice>,
    /// Explanation in sentences.
    pub text: String,
}

/// Explains a case, and compares the result with the answer.
pub fn score(case: &Case) -> CaseScore {
    let explanation = case.explain();
    let group = group_of_alarm(case, &explanation);
    let (top1, top3) = match (group, &case.answer) {
        (Some(group), Some(answer)) => points(group, answer),
        _ => (0.0, 0.0),
    };
    CaseScore {
        case: case.name.clone(),
        fault: case.fault.clone(),
        answer: case.answer.as_ref().map(|answer| answer.name.clone()),
        root: group.map(|group| group.root.name.clone()),
        top1,
        top3,
        confidence: group.map(|group| group.confidence),
        advice: group.map(|group| group.advice),
        text: group.map_or_else(|| "no root".to_owned(), |group| group.text.clone()),
    }
}

fn group_of_alarm<'a>(case: &Case, explanation: &'a Explanation) -> Option<&'a Group> {
    let incident = case.symptoms.incidents.first()?;
    explanation.groups.iter().find(|group| {
        group
            .members
            .iter()
            .any(|member| member.incident == incident.id)
    })
}

/// Returns the points for the first and for the first three places. Candidates with equal shares
/// are tied unless evidence decides between them.
fn points(group: &Group, answer: &Target) -> (f64, f64) {
    let mut places: Vec<(&Target, f64)> = vec![(&group.root, group.share.unwrap_or(0.0))];
    places.extend(
        group
            .runners_up
            .iter()
            .map(|runner| (&runner.entity, runner.share)),
    );
    let Some(place) = places.iter().position(|(entity, _)| *entity == answer) else {
        return (0.0, 0.0);
    };
    let is_tied = |(_, share): &&(&Target, f64)| (share - places[place].1).abs() <= TIE;
    let is_decided = group.family.is_some() && place == 0;
    let tied = if is_decided {
        1
    } else {
        places.iter().filter(is_tied).count()
    };
    let first_of_tie = if is_decided {
        0
    } else {
        places.iter().position(|p| is_tied(&p)).unwrap_or(place)
    };
    let points = |wanted: usize| {
        let free = wanted.saturating_sub(first_of_tie).min(tied);
        free as f64 / tied as f64
    };
    (points(1), points(WIDE))
}
