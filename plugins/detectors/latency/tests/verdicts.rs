//! Verdicts of the detector on test series.

use anomalyzer_latency::Latency;
use anomalyzer_plugin_sdk::Error;
use anomalyzer_plugin_sdk::test::{
    Phase, assert_lawful_detector, assert_lawful_memory, detect, every_second,
};

fn said(values: &[f64]) -> Vec<(u32, Phase)> {
    let verdict =
        detect::<Latency>("{}", &every_second(values.iter().copied())).expect("valid settings");
    verdict
        .findings
        .iter()
        .map(|finding| (finding.sample, finding.phase))
        .collect()
}

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<Latency>("{}");
    assert_lawful_detector::<Latency>(
        r#"{"factor": 1, "quantile": 0.99, "window": 10, "clear_samples": 1}"#,
    );
    assert_lawful_memory::<Latency>("{}");
}

#[test]
fn half_more_than_its_own_past_is_too_slow() {
    let values = [vec![0.2; 50], vec![0.29, 0.31, 0.32, 0.2, 0.2, 0.2]].concat();
    assert_eq!(said(&values), [(51, Phase::Onset), (55, Phase::Clear)]);
    let verdict = detect::<Latency>("{}", &every_second(values)).unwrap();
    assert_eq!(
        verdict.findings[0].reason,
        "0.31 is above 0.3: its past 51 samples were at 0.2"
    );
    assert!((verdict.scores[50] - 0.29 / 0.3).abs() < 1e-12);
}

#[test]
fn a_level_that_stays_is_known_after_half_the_window() {
    let values = [vec![0.2; 120], vec![0.5; 200]].concat();
    let said = said(&values);
    assert_eq!(said[0], (120, Phase::Onset));
    assert!(
        said.len() == 2 && (180..190).contains(&said[1].0),
        "{said:?}"
    );
}

#[test]
fn zeros_say_nothing_of_what_is_slow() {
    assert_eq!(said(&[vec![0.0; 50], vec![0.3; 3]].concat()), []);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, key) in [
        (r#"{"factor": 0.5}"#, "`factor`"),
        (r#"{"quantile": 99}"#, "`quantile`"),
        (r#"{"window": 5}"#, "`window`"),
        (r#"{"least": -1}"#, "`least`"),
    ] {
        let Err(Error::Invalid(message)) = detect::<Latency>(settings, &[]) else {
            panic!("{settings} passed")
        };
        assert!(message.contains(key), "{settings}: {message}");
    }
}
