use super::*;
use anomalyzer_domain::{Sample, testing};

fn claim(meaning: Meaning, fresh: &[f64]) -> SignalCheck {
    let samples = fresh
        .iter()
        .enumerate()
        .map(|(i, value)| Sample {
            at: i as i64,
            value: *value,
        })
        .collect();
    SignalCheck {
        finding: Finding {
            meaning,
            observed: Some(200.0),
            expected: Some(Range {
                low: Some(50.0),
                high: Some(100.0),
            }),
            ..testing::finding("s")
        },
        fresh: vec![testing::series(samples)],
        rounds: vec![testing::coverage(2, 2); fresh.len()],
        look_back: Duration::ZERO,
    }
}

#[track_caller]
fn check(claims: &[SignalCheck], expected: VerificationOutcome) {
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
        let rounds = answered
            .iter()
            .map(|answered| testing::coverage(3, *answered));
        [SignalCheck {
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
        &[SignalCheck {
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
