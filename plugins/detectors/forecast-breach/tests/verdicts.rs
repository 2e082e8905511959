//! Verdicts of the detector on test series.

use anomalyzer_forecast_breach::ForecastBreach;
use anomalyzer_plugin_sdk::Error;
use anomalyzer_plugin_sdk::test::series::Series;
use anomalyzer_plugin_sdk::test::{
    Direction, Finding, Phase, assert_lawful_detector, assert_lawful_memory, detect,
};

fn findings(settings: &str, series: Series) -> Vec<Finding> {
    detect::<ForecastBreach>(settings, &series.samples())
        .expect("valid settings")
        .findings
}

/// Returns the usage of a disk that is half full and fills by a ten-thousandth with each sample.
fn filling(samples: usize) -> Series {
    Series::noise(1, samples, 0.5, 0.005).trend(0.0001)
}

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<ForecastBreach>("{}");
    assert_lawful_detector::<ForecastBreach>(
        r#"{"limit": 0, "bad": "below", "horizon_seconds": 1e10, "window_seconds": 60, "for_samples": 1, "clear_samples": 1}"#,
    );
    assert_lawful_memory::<ForecastBreach>("{}");
}

#[test]
fn a_disk_that_fills_is_found_before_it_is_full() {
    // The limit is 0.4 away, and the series grows by 0.024 an hour. The breach is 16.7 hours ahead,
    // and so comes within the horizon of four hours after about 12.7 hours.
    let found = findings("{}", filling(4000));
    let onset = &found[0];
    assert_eq!(
        (onset.phase, onset.direction),
        (Phase::Onset, Direction::Above)
    );
    assert!((2700..3300).contains(&onset.sample), "{found:?}");
    assert!(
        onset
            .reason
            .contains("a day, will cross the limit of 0.9 at 2026-01-01T1"),
        "{}",
        onset.reason
    );
    assert_eq!(onset.expected.map(|range| range.high), Some(0.9));
}

#[test]
fn a_disk_that_is_cleaned_up_is_over() {
    let found = findings("{}", filling(4000).shift(3600.., -0.4));
    let clear = found.last().unwrap();
    assert_eq!(clear.phase, Phase::Clear, "{found:?}");
}

#[test]
fn what_is_crossed_is_out_without_a_trend() {
    let found = findings("{}", Series::of([0.95; 5]));
    assert_eq!((found[0].sample, found[0].score), (2, 10.0));
    assert_eq!(found[0].reason, "0.95 has crossed the limit of 0.9");
}

#[test]
fn what_stays_or_goes_away_is_calm() {
    assert_eq!(findings("{}", Series::noise(1, 3000, 0.5, 0.02)), []);
    assert_eq!(
        findings("{}", Series::noise(1, 3000, 0.8, 0.005).trend(-0.0002)),
        []
    );
    let quota = findings(
        r#"{"limit": 10, "bad": "below"}"#,
        Series::noise(1, 4000, 100.0, 1.0).trend(-0.02),
    );
    assert_eq!(
        (quota[0].phase, quota[0].direction),
        (Phase::Onset, Direction::Below)
    );
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, key) in [
        (r#"{"horizon_seconds": 0}"#, "`horizon_seconds`"),
        (r#"{"window_seconds": 1e11}"#, "`window_seconds`"),
        (r#"{"bad": "sideways"}"#, "`bad`"),
        (r#"{"for_samples": 0}"#, "`for_samples`"),
    ] {
        let Err(Error::Invalid(message)) = detect::<ForecastBreach>(settings, &[]) else {
            panic!("{settings} passed")
        };
        assert!(message.contains(key), "{settings}: {message}");
    }
}
