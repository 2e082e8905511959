//! Verdicts of the detector on test series.

use anomalyzer_plugin_sdk::Error;
use anomalyzer_plugin_sdk::test::{
    Finding, Phase, assert_lawful_detector, assert_lawful_memory, detect,
};
use anomalyzer_slo_burn::SloBurn;

const HOUR: usize = 60;

/// Returns the findings on a series with one ratio a minute.
fn findings(ratios: impl IntoIterator<Item = f64>) -> Vec<Finding> {
    let samples: Vec<_> = (0..).map(|minute| minute * 60_000).zip(ratios).collect();
    detect::<SloBurn>("{}", &samples)
        .expect("valid settings")
        .findings
}

fn quiet(minutes: usize) -> Vec<f64> {
    vec![0.0001; minutes]
}

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<SloBurn>("{}");
    assert_lawful_detector::<SloBurn>(r#"{"objective": 0, "factor": 0.01, "clear_samples": 1}"#);
    assert_lawful_memory::<SloBurn>("{}");
}

#[test]
fn an_outage_is_found_within_minutes_and_over_soon_after_it() {
    let found = findings([quiet(10 * HOUR), vec![0.2; 20], quiet(2 * HOUR)].concat());
    let [onset, .., clear] = &found[..] else {
        panic!("{found:?}")
    };
    // 14.4 budgets of 0.001 over an hour are 0.864. At a ratio of 0.2 that takes four to five
    // minutes, and one more minute to know them.
    assert_eq!(
        (onset.phase, onset.sample as usize - 10 * HOUR),
        (Phase::Onset, 5)
    );
    assert_eq!(clear.phase, Phase::Clear);
    let lasted = clear.sample as usize - 10 * HOUR;
    assert!(
        (25..60).contains(&lasted),
        "the 30 minutes of the second pair are over: {lasted}"
    );
    assert!(
        onset.reason.contains("times its rate over 1 h")
            && onset.reason.contains("5 min, where 14.4 is too fast")
    );
}

#[test]
fn a_slow_burn_is_found_by_the_long_windows() {
    let found = findings([quiet(48 * HOUR), vec![0.008; 12 * HOUR]].concat());
    let onset = &found[0];
    assert!(
        onset.reason.contains("over 6 h") || onset.reason.contains("over 3 days"),
        "{}",
        onset.reason
    );
    let after = onset.sample as usize - 48 * HOUR;
    assert!((2 * HOUR..10 * HOUR).contains(&after), "{after} minutes");
}

#[test]
fn one_bad_minute_and_what_the_budget_allows_are_calm() {
    assert_eq!(
        findings([quiet(5 * HOUR), vec![0.5], quiet(5 * HOUR)].concat()),
        []
    );
    assert_eq!(findings(vec![0.0009; 80 * HOUR]), []);
}

#[test]
fn nothing_is_found_before_a_third_of_an_hour() {
    let found = findings(vec![1.0; 30]);
    assert_eq!(found[0].sample, 20);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, key) in [
        (r#"{"objective": 1}"#, "`objective`"),
        (r#"{"objective": 99.9}"#, "`objective`"),
        (r#"{"factor": 0}"#, "`factor`"),
        (r#"{"clear_samples": 0}"#, "`clear_samples`"),
    ] {
        let Err(Error::Invalid(message)) = detect::<SloBurn>(settings, &[]) else {
            panic!("{settings} passed")
        };
        assert!(message.contains(key), "{settings}: {message}");
    }
}
