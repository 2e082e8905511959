//! Cases made harder: hidden calls and missing samples.

use anomalyzer_explain::Window;

use crate::case::Case;

/// Part of the calls or samples that is taken away.
pub const PART: f64 = 0.2;

/// Returns the case without a fifth of its calls.
pub fn hide_calls(case: &Case, random: &mut fastrand::Rng) -> Case {
    let mut case = case.clone();
    let kept = case.calls.len() - (case.calls.len() as f64 * PART).round() as usize;
    random.shuffle(&mut case.calls);
    case.calls.truncate(kept);
    case
}

/// Returns the case without a fifth of the samples since the alarm: an entity's latency, errors and
/// requests go together, as of a failed scrape.
pub fn drop_samples(case: &Case, random: &mut fastrand::Rng) -> Case {
    let mut case = case.clone();
    let mut entities: Vec<_> = case
        .symptoms
        .measures
        .iter()
        .map(|measure| measure.entity.clone())
        .collect();
    entities.sort();
    entities.dedup();
    for entity in entities {
        for window in 0..case.symptoms.windows {
            if random.f64() >= PART {
                continue;
            }
            let measures = case.symptoms.measures.iter_mut();
            for measure in measures.filter(|measure| measure.entity == entity) {
                if let Some(sample) = measure.windows.get_mut(window) {
                    *sample = Window::default();
                }
            }
        }
    }
    case
}
