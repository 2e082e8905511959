//! Verdicts of the detector on test series.

use anomalyzer_plugin_sdk::Error;
use anomalyzer_plugin_sdk::test::series::Random;
use anomalyzer_plugin_sdk::test::{
    Direction, Finding, Phase, assert_lawful_detector, assert_lawful_memory, detect,
};
use anomalyzer_seasonal::Seasonal;

/// Returns samples 15 minutes apart: 100 ± 3 with a daily rhythm, and half of that on the last two
/// days of each seven.
fn weeks(weeks: usize, change: impl Fn(usize, f64) -> f64) -> Vec<(i64, f64)> {
    let mut random = Random::new(1);
    let sample = |i: usize| {
        let phase = (i % 96) as f64 / 96.0 * std::f64::consts::TAU;
        let usual = (100.0 + 50.0 * phase.sin()) * if i / 96 % 7 >= 5 { 0.5 } else { 1.0 };
        change(i, usual + 3.0 * random.normal())
    };
    let values: Vec<f64> = (0..weeks * 7 * 96).map(sample).collect();
    (0..).map(|i| i * 900_000).zip(values).collect()
}

fn findings(samples: &[(i64, f64)]) -> Vec<Finding> {
    detect::<Seasonal>("{}", samples)
        .expect("valid settings")
        .findings
}

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<Seasonal>("{}");
    assert_lawful_detector::<Seasonal>(
        r#"{"threshold": 1, "days": 1, "weeks": 1, "for_samples": 1, "clear_samples": 1}"#,
    );
    assert_lawful_memory::<Seasonal>("{}");
}

#[test]
fn what_is_usual_by_day_is_unusual_by_night() {
    // At midnight on a Monday, the series has the values of the afternoon.
    let at = 96 * 7 * 4 + 72;
    let found = findings(&weeks(5, |i, value| {
        if (at..at + 8).contains(&i) {
            150.0
        } else {
            value
        }
    }));
    let late: Vec<_> = found
        .iter()
        .filter(|finding| finding.sample as usize >= 96 * 7 * 3)
        .collect();
    let [onset, .., clear] = &late[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (onset.sample as usize, onset.phase, onset.direction),
        (at + 1, Phase::Onset, Direction::Above)
    );
    assert!(
        onset
            .reason
            .contains("which is usual at this hour of the week"),
        "{}",
        onset.reason
    );
    assert_eq!(
        (clear.sample as usize, clear.phase),
        (at + 10, Phase::Clear),
        "{late:?}"
    );
    let expected = onset.expected.unwrap();
    assert!(expected.low > 20.0 && expected.high < 90.0, "{expected:?}");
}

#[test]
fn the_weekend_is_known_after_two_weeks() {
    let found = findings(&weeks(6, |_, value| value));
    let onsets = |from: usize| {
        found
            .iter()
            .filter(|f| f.phase == Phase::Onset && f.sample as usize >= from)
            .count()
    };
    assert!(
        onsets(0) > 0,
        "at first it is only known what is usual at an hour of the day"
    );
    assert_eq!(onsets(96 * 7 * 2), 0, "{found:?}");
}

#[test]
fn nothing_is_found_in_the_first_three_days() {
    let found = findings(&weeks(1, |i, value| if i == 150 { 1e6 } else { value }));
    assert!(
        found.iter().all(|finding| finding.sample >= 96 * 3),
        "{found:?}"
    );
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, key) in [
        (r#"{"threshold": 0}"#, "`threshold`"),
        (r#"{"days": 0}"#, "`days`"),
        (r#"{"weeks": 0}"#, "`weeks`"),
        (r#"{"relative": 2}"#, "`relative`"),
        (r#"{"utc_offset": 15}"#, "`utc_offset`"),
    ] {
        let Err(Error::Invalid(message)) = detect::<Seasonal>(settings, &[]) else {
            panic!("{settings} passed")
        };
        assert!(message.contains(key), "{settings}: {message}");
    }
}
