//! Verdicts of the detector on test series. `plugins/statistics` tests the parts that it shares
//! with other detectors.

use anomalyzer_plugin_sdk::test::{
    Direction, Phase, assert_lawful_detector, assert_lawful_memory, detect, every_second,
};
use anomalyzer_spike::Spike;

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<Spike>("{}");
    assert_lawful_detector::<Spike>(
        r#"{"threshold": 4, "window": 7, "for_samples": 2, "clear_samples": 1}"#,
    );
    assert_lawful_memory::<Spike>("{}");
}

#[test]
fn one_and_a_half_standard_deviations_above_are_a_spike() {
    // Mean 100, standard deviation 10.
    let steady = (0..60).map(|i| if i % 2 == 0 { 90.0 } else { 110.0 });
    let samples = every_second(steady.chain([40.0, 115.1]));
    let verdict = detect::<Spike>("{}", &samples[..61]).unwrap();
    assert_eq!(verdict.findings, []);
    let samples = [&samples[..60], &[(60_000, 115.1)]].concat();
    let verdict = detect::<Spike>("{}", &samples).unwrap();
    let onset = &verdict.findings[0];
    assert_eq!(
        (onset.sample, onset.phase, onset.direction),
        (60, Phase::Onset, Direction::Above)
    );
    assert!(onset.score > 1.0 && onset.score < 1.02, "{}", onset.score);
}
