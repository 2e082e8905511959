//! Series of numbers by time, and their usual values.

use std::collections::BTreeMap;

use anomalyzer_explain::Usual;

/// Quantiles of the usual range.
const LOW_QUANTILE: f64 = 0.05;
const HIGH_QUANTILE: f64 = 0.95;

/// Distance of the outer fences from the quartiles, in interquartile ranges.
const OUTER_FENCE: f64 = 3.0;

/// Number of samples from which a usual range is known.
const MIN_SAMPLES: usize = 2;

/// Values by time in unix seconds. A missing value is a gap.
pub type Series = BTreeMap<i64, f64>;

/// Returns the usual values of samples; `None` for too few of them.
pub fn usual(values: impl Iterator<Item = f64>) -> Option<Usual> {
    let mut sorted: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    if sorted.len() < MIN_SAMPLES {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    Some(Usual {
        low: quantile(&sorted, LOW_QUANTILE),
        level: quantile(&sorted, 0.5),
        high: quantile(&sorted, HIGH_QUANTILE),
    })
}

/// Returns the usual values of samples that hold unmarked incidents: values beyond the outer fences
/// (Tukey, 1977: three interquartile ranges from the quartiles) are left out first. A detector
/// would have reported them, and does not learn from them.
pub fn usual_of_disturbed(values: impl Iterator<Item = f64>) -> Option<Usual> {
    let mut sorted: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    if sorted.len() < MIN_SAMPLES {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let (first, third) = (quantile(&sorted, 0.25), quantile(&sorted, 0.75));
    let fence = OUTER_FENCE * (third - first);
    usual(
        sorted
            .into_iter()
            .filter(|value| *value >= first - fence && *value <= third + fence),
    )
}

/// Returns a quantile by linear interpolation (type 7 of Hyndman and Fan, 1996).
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}
