//! Verdicts of the detector on test series.

use anomalyzer_forest::Forest;
use anomalyzer_plugin_sdk::test::series::Series;
use anomalyzer_plugin_sdk::test::{
    Finding, Phase, assert_lawful_detector, assert_lawful_memory, detect,
};
use anomalyzer_plugin_sdk::{Error, Verdict};

fn verdict(settings: &str, series: Series) -> Verdict {
    detect::<Forest>(settings, &series.samples()).expect("valid settings")
}

fn onsets(findings: &[Finding]) -> Vec<u32> {
    findings
        .iter()
        .filter(|finding| finding.phase == Phase::Onset)
        .map(|finding| finding.sample)
        .collect()
}

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<Forest>("{}");
    assert_lawful_detector::<Forest>(
        r#"{"threshold": 0.1, "seed": 9, "for_samples": 2, "clear_samples": 1}"#,
    );
    assert_lawful_memory::<Forest>("{}");
}

#[test]
fn a_spike_and_a_step_where_nothing_was_are_found() {
    let found = verdict(
        "{}",
        Series::noise(1, 2000, 100.0, 5.0)
            .season(100, 30.0)
            .spike(1300, 120.0),
    );
    assert!(
        onsets(&found.findings).contains(&1300),
        "{:?}",
        found.findings
    );
    let highest = found.scores.iter().copied().fold(0.0, f64::max);
    assert_eq!(found.scores[1300], highest);
}

#[test]
fn a_constant_is_calm() {
    assert_eq!(verdict("{}", Series::of([5.0; 2000])).findings, []);
}

#[test]
fn nothing_is_found_in_the_first_two_windows() {
    let early = verdict("{}", Series::noise(1, 500, 100.0, 5.0).spike(400, 1e9));
    assert!(early.findings.is_empty() && early.scores.iter().all(|score| *score == 0.0));
}

#[test]
fn the_seed_decides() {
    let scores = |settings: &str| verdict(settings, Series::noise(1, 700, 100.0, 5.0)).scores;
    assert_eq!(scores(r#"{"seed": 3}"#), scores(r#"{"seed": 3}"#));
    assert_ne!(scores(r#"{"seed": 3}"#), scores(r#"{"seed": 4}"#));
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, key) in [
        (r#"{"threshold": 0}"#, "`threshold`"),
        (r#"{"seed": -1}"#, "`seed`"),
    ] {
        let Err(Error::Invalid(message)) = detect::<Forest>(settings, &[]) else {
            panic!("{settings} passed")
        };
        assert!(message.contains(key), "{settings}: {message}");
    }
}
