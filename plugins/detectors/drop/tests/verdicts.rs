//! What the detector says of series.

use anomalyzer_drop::Drop;
use anomalyzer_plugin_sdk::Error;
use anomalyzer_plugin_sdk::test::{
    Direction, Phase, assert_lawful_detector, assert_lawful_memory, detect, every_second,
};

/// 100 ± 10, over and over: mean 100, standard deviation 10.
fn steady(then: &[f64]) -> Vec<f64> {
    (0..60).map(|i| if i % 2 == 0 { 90.0 } else { 110.0 }).chain(then.iter().copied()).collect()
}

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<Drop>("{}");
    assert_lawful_detector::<Drop>(r#"{"threshold": 4, "window": 7, "for_samples": 2, "clear_samples": 1}"#);
    assert_lawful_memory::<Drop>("{}");
}

#[test]
fn only_what_is_far_below_begins_an_anomaly() {
    let values = steady(&[155.0, 100.0, 50.0, 100.0, 100.0, 100.0]);
    let verdict = detect::<Drop>("{}", &every_second(values)).unwrap();
    let said: Vec<_> = verdict.findings.iter().map(|f| (f.sample, f.phase, f.direction)).collect();
    assert_eq!(said, [(62, Phase::Onset, Direction::Below), (65, Phase::Clear, Direction::Below)]);
    assert_eq!(verdict.scores[60], 0.0);
    let reason = &verdict.findings[0].reason;
    assert!(reason.starts_with("50 is ") && reason.contains(" standard deviations below the mean "), "{reason}");
}

#[test]
fn the_score_is_the_distance_in_thresholds() {
    let verdict = detect::<Drop>("{}", &every_second(steady(&[50.0]))).unwrap();
    assert!((verdict.scores[60] - 5.0 / 3.0).abs() < 1e-12);
    let expected = verdict.findings[0].expected.unwrap();
    assert_eq!(expected.low, 70.0);
}

#[test]
fn a_level_that_stays_is_soon_known() {
    let verdict = detect::<Drop>("{}", &every_second(steady(&[-100.0; 100]))).unwrap();
    let last = verdict.findings.last().unwrap();
    assert_eq!((verdict.findings.len(), last.phase), (2, Phase::Clear), "{:?}", verdict.findings);
}

#[test]
fn rounding_is_no_anomaly() {
    let values = (0..500).map(|i| if i % 50 == 49 { 0.3 - 1e-16 } else { 0.3 });
    assert!(detect::<Drop>("{}", &every_second(values)).unwrap().findings.is_empty());
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, key) in [(r#"{"threshold": 0}"#, "`threshold`"), (r#"{"window": 1}"#, "`window`")] {
        let Err(Error::Invalid(message)) = detect::<Drop>(settings, &[]) else { panic!("{settings} passed") };
        assert!(message.contains(key), "{settings}: {message}");
    }
}
