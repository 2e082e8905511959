//! Compares fresh samples with the expected range and with the value at the time of the decision.

use std::time::Duration;

use anomalyzer_domain::{
    Coverage, Direction, Finding, Meaning, Range, Series, UnixMs, Verification,
    VerificationOutcome, duration,
};

/// One signal to check: its finding, and its fresh samples.
#[derive(Clone, Debug)]
pub struct SignalCheck {
    /// The finding at the time of the decision.
    pub finding: Finding,
    /// Samples of the signal's series on this target, from after the settling time.
    pub fresh: Vec<Series>,
    /// Coverage of each round in that time, oldest first.
    pub rounds: Vec<Coverage>,
    /// Time before an instant that a sample depends on. A sample that depends on the time before
    /// the operation is not among the fresh ones.
    pub look_back: Duration,
}

/// Share of the distance to the expected range that must be gone to count as improved, where the
/// range is not reached.
const IMPROVED_RATIO: f64 = 0.8;
/// Growth of the distance to the expected range that counts as worse.
const WORSE_RATIO: f64 = 1.2;

/// Judges the medians of the fresh samples. The worst signal decides. Traffic is judged only if
/// there is no other signal, because serving the demand does not make it go away.
///
/// - `improved`: within the range, or at least 80 % of the way back to it.
/// - `worse`: at least 20 % further out than before.
/// - `unknown`: too few samples, or sources did not answer. A source that falls silent is seldom a
///   healthy one.
/// - `not_improved`: everything else.
pub fn judge(checks: &[SignalCheck], min_samples: u32, now: UnixMs) -> Verification {
    let demand = |check: &&SignalCheck| check.finding.meaning == Meaning::Traffic;
    let judged: Vec<&SignalCheck> = if checks.iter().all(|check| demand(&check)) {
        checks.iter().collect()
    } else {
        checks.iter().filter(|check| !demand(check)).collect()
    };
    let mut samples = 0u32;
    let mut worst: Option<(VerificationOutcome, String)> = None;
    for check in judged {
        let (outcome, seen, reason) = check_signal(check, min_samples);
        samples = samples.saturating_add(seen);
        if worst
            .as_ref()
            .is_none_or(|(known, _)| rank(outcome) > rank(*known))
        {
            worst = Some((outcome, reason));
        }
    }
    let (outcome, reason) = worst.unwrap_or((
        VerificationOutcome::Unknown,
        "there is nothing to compare with: no finding gave a range".into(),
    ));
    Verification {
        outcome,
        at: now,
        samples,
        reason,
        control: None,
    }
}

fn rank(outcome: VerificationOutcome) -> u8 {
    match outcome {
        VerificationOutcome::Improved => 0,
        VerificationOutcome::NotImproved => 1,
        VerificationOutcome::Unknown => 2,
        VerificationOutcome::Worse => 3,
    }
}

/// Judges one signal. Returns the outcome, the number of fresh samples, and the reason.
fn check_signal(check: &SignalCheck, min_samples: u32) -> (VerificationOutcome, u32, String) {
    let signal = &check.finding.signal;
    let (Some(expected), Some(observed)) = (check.finding.expected, check.finding.observed) else {
        return (
            VerificationOutcome::Unknown,
            0,
            format!("{signal}: no range was expected, so that nothing can be compared"),
        );
    };
    let count: usize = check.fresh.iter().map(|series| series.samples.len()).sum();
    let seen = u32::try_from(count).unwrap_or(u32::MAX);
    if seen < min_samples.max(1) {
        let mut reason = format!(
            "{signal}: {seen} fresh samples, {min_samples} are needed: no samples is unknown, not good"
        );
        if !check.look_back.is_zero() {
            reason.push_str(&format!(
                "; a sample depends on the {} before it, and none counts that depends on the time before the \
                 operation: let `[verify] settle` and `observe` together, or `observe_at_most`, be longer than that",
                duration::format(check.look_back)
            ));
        }
        return (VerificationOutcome::Unknown, seen, reason);
    }
    if let Some(gap) = coverage_gap(&check.rounds) {
        return (
            VerificationOutcome::Unknown,
            seen,
            format!("{signal}: {gap}: those that answer may be the healthy ones"),
        );
    }
    let medians = check
        .fresh
        .iter()
        .filter_map(|series| median(series.samples.iter().map(|sample| sample.value)));
    let side = side(expected, check.finding.direction);
    let Some(value) = medians.max_by(|a, b| side.distance(*a).total_cmp(&side.distance(*b))) else {
        return (
            VerificationOutcome::Unknown,
            0,
            format!("{signal}: no fresh samples"),
        );
    };
    let (before, after) = (side.distance(observed), side.distance(value));
    let outcome = if after <= before * (1.0 - IMPROVED_RATIO) {
        VerificationOutcome::Improved
    } else if after >= before * WORSE_RATIO && after > slack(side) {
        VerificationOutcome::Worse
    } else {
        VerificationOutcome::NotImproved
    };
    let bounds = match (side.low, side.high) {
        (Some(low), Some(high)) => format!("{low:.4} to {high:.4}"),
        (Some(low), None) => format!("at least {low:.4}"),
        (None, Some(high)) => format!("at most {high:.4}"),
        (None, None) => "anything".into(),
    };
    let reason = format!(
        "{signal}: median {value:.4} of {seen} fresh samples; {observed:.4} when decided; expected {bounds}"
    );
    (outcome, seen, reason)
}

/// Returns the reason why the rounds do not cover the whole target, if they do not. The last round
/// and most others must be complete: a single timeout is tolerated, a missing source is not.
fn coverage_gap(rounds: &[Coverage]) -> Option<String> {
    let last = rounds.last()?;
    if !last.is_complete() {
        return Some(format!(
            "{} of {} sources answered in the last round, {} failed",
            last.answered, last.asked, last.failed
        ));
    }
    let whole = rounds
        .iter()
        .filter(|coverage| coverage.is_complete())
        .count();
    (whole * 2 <= rounds.len()).then(|| {
        format!(
            "all sources answered in only {whole} of {} rounds",
            rounds.len()
        )
    })
}

/// Returns the distance outside of the range that is still negligible: a fifth of the bound nearest
/// to 0. It matters if the value was within the range, or barely outside, before.
fn slack(side: Range) -> f64 {
    let bounds = [side.low, side.high].into_iter().flatten().map(f64::abs);
    bounds
        .min_by(f64::total_cmp)
        .map_or(0.0, |bound| bound * (WORSE_RATIO - 1.0))
}

/// Returns the bound that the finding exceeded: a value that was too high is not worse for being
/// low now.
fn side(expected: Range, direction: Direction) -> Range {
    match direction {
        Direction::Above => Range {
            low: None,
            high: expected.high,
        },
        Direction::Below => Range {
            low: expected.low,
            high: None,
        },
        Direction::Shape => expected,
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests;
