//! Verdicts of the detector on test series. `plugins/statistics` tests the parts that it shares
//! with other detectors.

use anomalyzer_drop::Drop;
use anomalyzer_plugin_sdk::test::{
    Direction, Phase, assert_lawful_detector, assert_lawful_memory, detect, every_second,
};

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<Drop>("{}");
    assert_lawful_detector::<Drop>(
        r#"{"threshold": 4, "window": 7, "for_samples": 2, "clear_samples": 1}"#,
    );
    assert_lawful_memory::<Drop>("{}");
}

#[test]
fn three_standard_deviations_below_are_a_drop() {
    // Mean 100, standard deviation 10.
    let steady = (0..60).map(|i| if i % 2 == 0 { 90.0 } else { 110.0 });
    let samples = every_second(steady.chain([160.0, 69.9]));
    let verdict = detect::<Drop>("{}", &samples[..61]).unwrap();
    assert_eq!(verdict.findings, []);
    let samples = [&samples[..60], &[(60_000, 69.9)]].concat();
    let verdict = detect::<Drop>("{}", &samples).unwrap();
    let onset = &verdict.findings[0];
    assert_eq!(
        (onset.sample, onset.phase, onset.direction),
        (60, Phase::Onset, Direction::Below)
    );
    assert!(onset.score > 1.0 && onset.score < 1.02, "{}", onset.score);
}
