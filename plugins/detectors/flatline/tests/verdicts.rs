//! Verdicts of the detector on test series.

use anomalyzer_flatline::Flatline;
use anomalyzer_plugin_sdk::Error;
use anomalyzer_plugin_sdk::test::series::Series;
use anomalyzer_plugin_sdk::test::{
    Direction, Finding, Phase, assert_lawful_detector, assert_lawful_memory, detect,
};

fn findings(series: Series) -> Vec<Finding> {
    detect::<Flatline>("{}", &series.samples())
        .expect("valid settings")
        .findings
}

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<Flatline>("{}");
    assert_lawful_detector::<Flatline>(
        r#"{"samples": 2, "factor": 1, "tolerance": 0.5, "moves": 1}"#,
    );
    assert_lawful_memory::<Flatline>("{}");
}

#[test]
fn a_series_that_is_stuck_is_found_and_over_when_it_moves() {
    let found = findings(Series::noise(1, 300, 100.0, 5.0).stuck(100..200, 97.0));
    let phases: Vec<_> = found
        .iter()
        .map(|finding| (finding.sample, finding.phase, finding.direction))
        .collect();
    assert_eq!(phases[0], (119, Phase::Onset, Direction::Shape));
    assert_eq!(phases.last(), Some(&(200, Phase::Clear, Direction::Shape)));
    assert_eq!(
        found[0].reason,
        "97 for 20 samples in a row, since 2026-01-01T00:25:00Z; 1 at most are usual"
    );
}

#[test]
fn what_often_stands_still_may_do_so() {
    // The series has steps of 30 samples. A run of three times that length is unusual.
    let steps = |length: usize| {
        Series::of((0..3000).map(|i| f64::from(i / 30))).stuck(1500..1500 + length, 50.0)
    };
    assert_eq!(findings(steps(80)), []);
    assert_eq!(findings(steps(100))[0].phase, Phase::Onset);
}

#[test]
fn who_never_moved_has_not_stopped() {
    assert_eq!(findings(Series::of([5.0; 1000])), []);
    assert_eq!(findings(Series::of([5.0; 1000]).shift(500.., 1.0)), []);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, key) in [
        (r#"{"samples": 1}"#, "`samples`"),
        (r#"{"factor": 0}"#, "`factor`"),
        (r#"{"tolerance": -1}"#, "`tolerance`"),
        (r#"{"moves": 0}"#, "`moves`"),
    ] {
        let Err(Error::Invalid(message)) = detect::<Flatline>(settings, &[]) else {
            panic!("{settings} passed")
        };
        assert!(message.contains(key), "{settings}: {message}");
    }
}
