//! Verdicts of the detector on test series.

use anomalyzer_error_rate::ErrorRate;
use anomalyzer_plugin_sdk::Error;
use anomalyzer_plugin_sdk::test::{
    Direction, Phase, assert_lawful_detector, assert_lawful_memory, detect, every_second,
};

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<ErrorRate>("{}");
    assert_lawful_detector::<ErrorRate>(r#"{"limit": 1e6, "for_samples": 3, "clear_samples": 1}"#);
    assert_lawful_memory::<ErrorRate>("{}");
}

#[test]
fn more_than_five_in_a_hundred_are_too_many() {
    let shares = [0.0, 0.049, 0.05, 0.2, 0.2, 0.04, 0.01, 0.0];
    let verdict = detect::<ErrorRate>("{}", &every_second(shares)).unwrap();
    let said: Vec<_> = verdict
        .findings
        .iter()
        .map(|f| (f.sample, f.phase, f.direction))
        .collect();
    let above = |sample, phase| (sample, phase, Direction::Above);
    assert_eq!(
        said,
        [
            above(2, Phase::Onset),
            above(3, Phase::Ongoing),
            above(7, Phase::Clear)
        ]
    );
    assert_eq!(
        verdict.findings[0].reason,
        "a share of 0.05 fails, the limit is 0.05"
    );
    assert_eq!(
        verdict.findings[2].reason,
        "a share of 0 fails, within the limit of 0.05 again"
    );
    assert!((verdict.findings[1].severity - 4.0).abs() < 1e-12);
    assert_eq!(verdict.scores[1], 0.049 / 0.05);
}

#[test]
fn a_limit_that_makes_no_sense_is_named() {
    let Err(Error::Invalid(message)) = detect::<ErrorRate>(r#"{"limit": 0}"#, &[]) else {
        panic!("it passed")
    };
    assert!(message.contains("`limit`"), "{message}");
}
