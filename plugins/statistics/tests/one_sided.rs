//! Verdicts of a one-sided detector on test series.

use anomalyzer_plugin_sdk::test::{Direction, Phase, detect, every_second};
use anomalyzer_plugin_sdk::{About, Error, Verdict};
use anomalyzer_statistics::{OneSide, OneSided, Side};

/// Rule with the threshold of the drop detector, and its mirror image.
struct Up;
struct Down;

impl OneSide for Up {
    const SIDE: Side = Side::Above;
    const THRESHOLD: f64 = 3.0;

    fn about() -> About {
        About {
            name: "up",
            version: "0.1.0",
            summary: "",
        }
    }
}

impl OneSide for Down {
    const SIDE: Side = Side::Below;
    const THRESHOLD: f64 = 3.0;

    fn about() -> About {
        About {
            name: "down",
            version: "0.1.0",
            summary: "",
        }
    }
}

/// Returns both verdicts: one on the values, one on the negated values.
fn both(values: &[f64]) -> [Verdict; 2] {
    let samples = |sign: f64| every_second(values.iter().map(|value| value * sign));
    [
        detect::<OneSided<Up>>("{}", &samples(1.0)),
        detect::<OneSided<Down>>("{}", &samples(-1.0)),
    ]
    .map(|verdict| verdict.expect("valid settings"))
}

/// Returns 90 and 110 in turn, and then the given values: mean 100, standard deviation 10.
fn steady(then: &[f64]) -> Vec<f64> {
    (0..60)
        .map(|i| if i % 2 == 0 { 90.0 } else { 110.0 })
        .chain(then.iter().copied())
        .collect()
}

#[test]
fn only_what_is_far_on_its_side_begins_an_anomaly() {
    let [up, down] = both(&steady(&[45.0, 100.0, 200.0, 100.0, 100.0, 100.0]));
    assert_eq!(up.scores, down.scores);
    assert_eq!(up.scores[60], 0.0);
    for (verdict, direction, side) in [
        (up, Direction::Above, "above"),
        (down, Direction::Below, "below"),
    ] {
        let said: Vec<_> = verdict
            .findings
            .iter()
            .map(|f| (f.sample, f.phase, f.direction))
            .collect();
        assert_eq!(
            said,
            [(62, Phase::Onset, direction), (65, Phase::Clear, direction)]
        );
        let words = format!(" standard deviations {side} the mean ");
        assert!(
            verdict.findings[0].reason.contains(&words),
            "{}",
            verdict.findings[0].reason
        );
    }
}

#[test]
fn the_score_is_the_distance_in_thresholds_and_the_range_is_open_on_the_other_side() {
    let [up, down] = both(&steady(&[150.0]));
    assert!((up.scores[60] - 5.0 / 3.0).abs() < 1e-12);
    let expected = [up, down].map(|verdict| verdict.findings[0].expected.expect("a range"));
    assert_eq!(
        (expected[0].low, expected[0].high),
        (f64::NEG_INFINITY, 130.0)
    );
    assert_eq!((expected[1].low, expected[1].high), (-130.0, f64::INFINITY));
}

#[test]
fn a_level_that_stays_is_soon_known() {
    for verdict in both(&steady(&[300.0; 100])) {
        let phases: Vec<_> = verdict
            .findings
            .iter()
            .map(|finding| finding.phase)
            .collect();
        assert_eq!(
            phases,
            [Phase::Onset, Phase::Clear],
            "{:?}",
            verdict.findings
        );
    }
}

#[test]
fn rounding_is_no_anomaly() {
    let values: Vec<f64> = (0..500)
        .map(|i| if i % 50 == 49 { 0.1 + 0.2 } else { 0.3 })
        .collect();
    assert!(
        both(&values)
            .iter()
            .all(|verdict| verdict.findings.is_empty())
    );
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, key) in [
        (r#"{"threshold": 0}"#, "`threshold`"),
        (r#"{"window": 1}"#, "`window`"),
        (r#"{"for_samples": 0}"#, "`for_samples`"),
    ] {
        let Err(Error::Invalid(message)) = detect::<OneSided<Up>>(settings, &[]) else {
            panic!("{settings} passed")
        };
        assert!(message.contains(key), "{settings}: {message}");
    }
}
