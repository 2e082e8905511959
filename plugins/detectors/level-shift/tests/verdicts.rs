//! Verdicts of the detector on test series.

use anomalyzer_level_shift::LevelShift;
use anomalyzer_plugin_sdk::Error;
use anomalyzer_plugin_sdk::test::series::Series;
use anomalyzer_plugin_sdk::test::{
    Direction, Finding, Phase, assert_lawful_detector, assert_lawful_memory, detect,
};

fn findings(series: Series) -> Vec<Finding> {
    detect::<LevelShift>("{}", &series.samples())
        .expect("valid settings")
        .findings
}

fn noise() -> Series {
    Series::noise(1, 1000, 100.0, 5.0)
}

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<LevelShift>("{}");
    assert_lawful_detector::<LevelShift>(
        r#"{"threshold": 1, "recent": 3, "window": 10, "clear_samples": 1}"#,
    );
    assert_lawful_memory::<LevelShift>("{}");
}

#[test]
fn a_level_that_stays_is_found_once_and_is_over_when_it_is_known() {
    for (by, direction) in [(60.0, Direction::Above), (-60.0, Direction::Below)] {
        let found = findings(noise().shift(500.., by));
        let onset = &found[0];
        assert_eq!(
            (onset.phase, onset.direction),
            (Phase::Onset, direction),
            "{found:?}"
        );
        assert!(
            (508..=515).contains(&onset.sample),
            "half of the recent ones: {}",
            onset.sample
        );
        let clear = found.last().unwrap();
        assert!(
            clear.phase == Phase::Clear && (570..640).contains(&clear.sample),
            "{found:?}"
        );
        assert_eq!(
            found
                .iter()
                .filter(|finding| finding.phase == Phase::Onset)
                .count(),
            1
        );
        let expected = onset.expected.unwrap();
        assert!(expected.low > 70.0 && expected.high < 130.0, "{expected:?}");
    }
}

#[test]
fn spikes_and_noise_are_no_level() {
    assert_eq!(findings(noise()), []);
    assert_eq!(findings(noise().shift(500..509, 1e6).spike(700, -1e9)), []);
}

#[test]
fn a_constant_may_change_by_a_share_of_itself() {
    let jump = |by: f64| findings(Series::of([100.0; 400]).shift(300.., by));
    assert_eq!(jump(3.9), []);
    assert_eq!(jump(4.1)[0].phase, Phase::Onset);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, key) in [
        (r#"{"threshold": 0}"#, "`threshold`"),
        (r#"{"recent": 1}"#, "`recent`"),
        (r#"{"window": 5}"#, "`window`"),
        (r#"{"relative": 2}"#, "`relative`"),
    ] {
        let Err(Error::Invalid(message)) = detect::<LevelShift>(settings, &[]) else {
            panic!("{settings} passed")
        };
        assert!(message.contains(key), "{settings}: {message}");
    }
}
