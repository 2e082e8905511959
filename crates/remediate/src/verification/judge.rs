//! The judgement: a function of what was expected, what was seen then, and what is seen now.

use anomalyzer_domain::{
    Coverage, Direction, Finding, Meaning, Range, Series, UnixMs, Verification, VerificationOutcome,
};

/// What was wrong with one signal, and its fresh samples.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The finding at the time of the decision.
    pub finding: Finding,
    /// Fresh samples of the signal's series of this target, from after the settling time.
    pub fresh: Vec<Series>,
    /// Who answered in each round of that time, oldest first.
    pub rounds: Vec<Coverage>,
}

/// This much of the distance from the expected range must be gone to count as improved where the
/// range is not reached.
const GONE: f64 = 0.8;
/// Further out than before by this factor counts as worse.
const FURTHER: f64 = 1.2;

/// Compares medians of the fresh samples with the range stored at the onset. The worst signal
/// decides. Demand (traffic) is not judged unless there is nothing else: serving it does not make
/// it go away.
///
/// `improved`: in the range, or at least 80 % of the way back. `worse`: at least 20 % further out.
/// Too few is `unknown`, and so is what was seen while sources did not answer: those that fall
/// silent are seldom the healthy ones.
pub fn judge(claims: &[Claim], min_samples: u32, now: UnixMs) -> Verification {
    let demand = |claim: &&Claim| claim.finding.meaning == Meaning::Traffic;
    let judged: Vec<&Claim> = if claims.iter().all(|claim| demand(&claim)) {
        claims.iter().collect()
    } else {
        claims.iter().filter(|claim| !demand(claim)).collect()
    };
    let mut samples = 0u32;
    let mut worst: Option<(VerificationOutcome, String)> = None;
    for claim in judged {
        let (outcome, seen, reason) = one(claim, min_samples);
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

fn one(claim: &Claim, min_samples: u32) -> (VerificationOutcome, u32, String) {
    let signal = &claim.finding.signal;
    let (Some(expected), Some(observed)) = (claim.finding.expected, claim.finding.observed) else {
        return (
            VerificationOutcome::Unknown,
            0,
            format!("{signal}: no range was expected, so that nothing can be compared"),
        );
    };
    let count: usize = claim.fresh.iter().map(|series| series.samples.len()).sum();
    let seen = u32::try_from(count).unwrap_or(u32::MAX);
    if seen < min_samples.max(1) {
        let reason = format!(
            "{signal}: {seen} fresh samples, {min_samples} are needed: no samples is unknown, not good"
        );
        return (VerificationOutcome::Unknown, seen, reason);
    }
    if let Some(gap) = gap(&claim.rounds) {
        return (
            VerificationOutcome::Unknown,
            seen,
            format!("{signal}: {gap}: those that answer may be the healthy ones"),
        );
    }
    let medians = claim
        .fresh
        .iter()
        .filter_map(|series| median(series.samples.iter().map(|sample| sample.value)));
    let side = side(expected, claim.finding.direction);
    let Some(value) = medians.max_by(|a, b| side.distance(*a).total_cmp(&side.distance(*b))) else {
        return (
            VerificationOutcome::Unknown,
            0,
            format!("{signal}: no fresh samples"),
        );
    };
    let (before, after) = (side.distance(observed), side.distance(value));
    let outcome = if after <= before * (1.0 - GONE) {
        VerificationOutcome::Improved
    } else if after >= before * FURTHER && after > slack(side) {
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

/// Why the rounds do not show the whole target, if so. Most of them must be whole, and the last
/// one: one scrape that timed out does not spoil the rest, a source that is gone does.
fn gap(rounds: &[Coverage]) -> Option<String> {
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

/// How far outside is nothing to speak of where little or nothing was out before: a fifth of the
/// bound that is nearest to 0.
fn slack(side: Range) -> f64 {
    let bounds = [side.low, side.high].into_iter().flatten().map(f64::abs);
    bounds
        .min_by(f64::total_cmp)
        .map_or(0.0, |bound| bound * (FURTHER - 1.0))
}

/// What was too high is not worse for being very low, and the other way round.
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
mod tests {
    use super::*;
    use anomalyzer_domain::{FindingId, Labels, Phase, Sample};

    fn claim(meaning: Meaning, fresh: &[f64]) -> Claim {
        let samples = fresh
            .iter()
            .enumerate()
            .map(|(i, value)| Sample {
                at: i as i64,
                value: *value,
            })
            .collect();
        Claim {
            finding: Finding {
                id: FindingId::derive(&[]),
                signal: "s".into(),
                meaning,
                labels: Labels::default(),
                detector: "zscore".into(),
                detector_digest: String::new(),
                onset_at: 0,
                at: 0,
                phase: Phase::Onset,
                direction: Direction::Above,
                score: 2.0,
                severity: 2.0,
                observed: Some(200.0),
                expected: Some(Range {
                    low: Some(50.0),
                    high: Some(100.0),
                }),
                reason: String::new(),
            },
            fresh: vec![Series {
                labels: Labels::default(),
                samples,
            }],
            rounds: vec![
                Coverage {
                    asked: 2,
                    answered: 2,
                    failed: 0
                };
                fresh.len()
            ],
        }
    }

    #[track_caller]
    fn check(claims: &[Claim], expected: VerificationOutcome) {
        let verification = judge(claims, 3, 0);
        assert_eq!(verification.outcome, expected, "{}", verification.reason);
    }

    #[test]
    fn fresh_samples_decide_and_too_few_are_unknown() {
        use VerificationOutcome::{Improved, NotImproved, Unknown, Worse};
        check(&[claim(Meaning::Latency, &[90.0, 95.0, 400.0])], Improved);
        check(&[claim(Meaning::Latency, &[118.0, 119.0, 119.0])], Improved);
        check(&[claim(Meaning::Latency, &[180.0; 3])], NotImproved);
        check(&[claim(Meaning::Latency, &[300.0; 3])], Worse);
        check(&[claim(Meaning::Latency, &[90.0; 2])], Unknown);
        check(&[claim(Meaning::Latency, &[])], Unknown);
        check(&[], Unknown);
    }

    #[test]
    fn demand_that_goes_on_does_not_hide_that_it_is_served() {
        let claims = [
            claim(Meaning::Traffic, &[200.0; 3]),
            claim(Meaning::Latency, &[90.0; 3]),
        ];
        check(&claims, VerificationOutcome::Improved);
        check(&claims[..1], VerificationOutcome::NotImproved);
    }

    #[test]
    fn replicas_that_do_not_answer_are_not_outvoted_by_those_that_do() {
        use VerificationOutcome::{Improved, Unknown};
        let rounds = |answered: &[u32]| {
            let rounds = answered.iter().map(|answered| Coverage {
                asked: 3,
                answered: *answered,
                failed: 3 - answered,
            });
            [Claim {
                rounds: rounds.collect(),
                ..claim(Meaning::Latency, &[90.0; 3])
            }]
        };
        check(&rounds(&[3, 3, 3]), Improved);
        check(&rounds(&[3, 2, 3]), Improved);
        check(&rounds(&[3, 3, 2]), Unknown);
        check(&rounds(&[2, 2, 3]), Unknown);
        check(&rounds(&[0, 0, 0]), Unknown);
        let reason = judge(&rounds(&[1, 1, 1]), 3, 0).reason;
        assert!(
            reason.contains("1 of 3 sources answered in the last round, 2 failed"),
            "{reason}"
        );
        // Asked, and with nothing to say: not seen either.
        let idle = Coverage {
            asked: 3,
            answered: 2,
            failed: 0,
        };
        check(
            &[Claim {
                rounds: vec![idle; 3],
                ..claim(Meaning::Latency, &[90.0; 3])
            }],
            Unknown,
        );
    }

    #[test]
    fn what_was_in_its_range_is_not_worse_for_a_hair() {
        use VerificationOutcome::{NotImproved, Worse};
        let within = |fresh: f64| {
            let mut claim = claim(Meaning::Memory, &[fresh; 3]);
            claim.finding.observed = Some(100.0);
            [claim]
        };
        check(&within(100.1), NotImproved);
        check(&within(150.0), Worse);
    }

    #[test]
    fn a_signal_without_fresh_samples_is_not_outvoted_by_one_that_improved() {
        check(
            &[
                claim(Meaning::Latency, &[90.0; 3]),
                claim(Meaning::Errors, &[]),
            ],
            VerificationOutcome::Unknown,
        );
    }
}
