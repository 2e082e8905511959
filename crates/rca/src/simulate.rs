//! Faults at any node, simulated on a quiet recording.
//!
//! The recorded issues have few roots. A simulated fault makes one node slower, or makes its
//! requests fail, and its callers in proportion to their calls. The noise stays that of the
//! recording. These cases say whether the method depends on the place of a fault; conservation
//! holds in them by construction, so they say nothing about conservation.

use std::collections::BTreeMap;

use anomalyzer_domain::{Meaning, Target};
use anomalyzer_explain::Measure;

use crate::case::Case;

/// Rise of the alarm's value, in widths of its usual range.
const RISE_WIDTHS: f64 = 4.0;

/// Part of the first window in which the fault is active. The alarm is in the middle of it.
const FIRST_PART: f64 = 0.5;

/// Number of calls from the alarm down to the deepest simulated root.
const MAX_DEPTH: usize = 8;

/// Least number of requests of a root in a window. Fewer would need minutes a request to show.
const MIN_REQUESTS: f64 = 20.0;

/// Every `STRIDE`th quiet case gets a fault at each node in turn.
const STRIDE: usize = 16;

/// Returns cases with a fault at each busy node below the alarm.
pub fn cases(quiet: &[Case]) -> Vec<Case> {
    quiet
        .iter()
        .step_by(STRIDE)
        .flat_map(at_each_node)
        .collect()
}

fn at_each_node(case: &Case) -> Vec<Case> {
    let Some(finding) = case
        .symptoms
        .incidents
        .first()
        .and_then(|i| i.findings.first())
    else {
        return Vec::new();
    };
    let meaning = finding.meaning;
    let measures = case
        .symptoms
        .measures
        .iter()
        .filter(|measure| measure.meaning == meaning);
    let requests: BTreeMap<&Target, f64> = measures
        .clone()
        .map(|measure| {
            let known = measure.windows.iter().filter_map(|window| window.requests);
            (
                &measure.entity,
                known.sum::<f64>() / case.symptoms.windows.max(1) as f64,
            )
        })
        .collect();
    let alarm = &case.symptoms.incidents[0].target;
    let Some(width) = measures
        .clone()
        .find(|measure| measure.entity == *alarm)
        .and_then(|measure| measure.usual)
        .map(|usual| usual.high - usual.level)
    else {
        return Vec::new();
    };
    let roots = requests
        .iter()
        .filter(|(root, count)| **root != alarm && **count >= MIN_REQUESTS);
    roots
        .filter_map(|(root, _)| {
            let effect = effects(case, &requests, root);
            let arrives = effect.get(alarm).copied().filter(|part| *part > 0.0)?;
            let size = RISE_WIDTHS * width / arrives;
            // A share of failures above one is no share.
            (meaning != Meaning::Errors || size < 1.0)
                .then(|| faulty(case, root, &effect, size, meaning))
        })
        .collect()
}

/// Returns the effect at each node of one unit (a second, or one failure) per request at the root.
fn effects(case: &Case, requests: &BTreeMap<&Target, f64>, root: &Target) -> BTreeMap<Target, f64> {
    let mut effect = BTreeMap::from([(root.clone(), 1.0)]);
    let mut callers: BTreeMap<&Target, f64> = BTreeMap::new();
    for (from, to) in &case.calls {
        *callers.entry(to).or_default() += requests.get(from).copied().unwrap_or(0.0);
    }
    let mut front = effect.clone();
    for _ in 0..MAX_DEPTH {
        let mut next: BTreeMap<Target, f64> = BTreeMap::new();
        for (from, to) in case.calls.iter().filter(|(from, _)| from != root) {
            let (Some(size), Some(of_callee)) = (front.get(to), requests.get(to)) else {
                continue;
            };
            let all = callers.get(to).copied().unwrap_or(0.0);
            // Each caller's calls of the callee are in proportion to its requests.
            if all > 0.0 && requests.contains_key(from) {
                *next.entry(from.clone()).or_default() += size * of_callee / all;
            }
        }
        if next.is_empty() {
            break;
        }
        for (node, size) in &next {
            *effect.entry(node.clone()).or_default() += size;
        }
        front = next;
    }
    effect
}

fn faulty(
    case: &Case,
    root: &Target,
    effect: &BTreeMap<Target, f64>,
    size: f64,
    meaning: Meaning,
) -> Case {
    let mut case = case.clone();
    case.name = format!("{} at {}", case.name, root.name);
    "simulated".clone_into(&mut case.fault);
    case.answer = Some(root.clone());
    let ill = |measure: &&mut Measure| measure.meaning == meaning;
    for measure in case.symptoms.measures.iter_mut().filter(ill) {
        let Some(part) = effect.get(&measure.entity) else {
            continue;
        };
        for (place, window) in measure.windows.iter_mut().enumerate() {
            let active = if place == 0 { FIRST_PART } else { 1.0 };
            if let Some(value) = &mut window.value {
                *value += size * part * active;
            }
        }
    }
    case
}
