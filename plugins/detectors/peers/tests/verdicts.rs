//! Verdicts of the detector on several test series.

use anomalyzer_peers::Peers;
use anomalyzer_plugin_sdk::bindings::detector::exports::anomalyzer::plugin::detector::Series;
use anomalyzer_plugin_sdk::test::{Direction, Finding, Phase, assert_lawful_detector, detect};
use anomalyzer_plugin_sdk::{Error, Frame, Watch};

const STEP: i64 = 15_000;

/// Runs the detector on the replicas of one service. Each item of `values` has the values of all
/// replicas at one time. Returns the findings, each with the index of its replica.
fn findings(values: &[Vec<f64>]) -> Vec<(usize, Finding)> {
    let mut watch = Watch::<Peers>::open("{}").expect("valid settings");
    let replicas = values[0].len();
    let label = |name: &str, value: String| (name.to_owned(), value);
    let opened = (0..replicas as u32)
        .map(|id| Series {
            id,
            labels: vec![
                label("job", "shop".to_owned()),
                label("pod", format!("shop-{id}")),
            ],
        })
        .collect();
    let mut frame = Frame {
        now: 0,
        opened,
        closed: vec![],
        ids: vec![],
        at: vec![],
        values: vec![],
    };
    for (step, values) in values.iter().enumerate() {
        for (id, value) in values.iter().enumerate() {
            frame.ids.push(id as u32);
            frame.at.push(step as i64 * STEP);
            frame.values.push(*value);
        }
    }
    let verdict = watch.observe(&frame, true).expect("a verdict");
    verdict
        .findings
        .into_iter()
        .map(|finding| (finding.sample as usize % replicas, finding))
        .collect()
}

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<Peers>("{}");
}

#[test]
fn one_that_differs_is_found_and_the_others_are_not() {
    let step = |odd: f64| vec![100.0, 102.0, odd, 98.0, 101.0];
    let values = [
        vec![step(99.0); 5],
        vec![step(300.0); 5],
        vec![step(99.0); 6],
    ]
    .concat();
    let found = findings(&values);
    let said: Vec<_> = found
        .iter()
        .map(|(replica, f)| (*replica, f.sample as usize / 5, f.phase, f.direction))
        .collect();
    assert_eq!(
        said,
        [
            (2, 7, Phase::Onset, Direction::Above),
            (2, 13, Phase::Clear, Direction::Above)
        ],
        "{found:?}"
    );
    assert_eq!(
        found[0].1.reason,
        "300 is above the 100.5 of its 4 siblings, 39.7 median deviations away"
    );
}

#[test]
fn what_all_do_together_is_calm() {
    let values: Vec<_> = (0..50)
        .map(|i| {
            [1.0, 1.01, 0.99, 1.02]
                .map(|own| own * 100.0 * f64::from(1 + i))
                .to_vec()
        })
        .collect();
    assert_eq!(findings(&values), []);
}

#[test]
fn three_replicas_have_too_few_siblings_to_tell_who_is_odd() {
    assert_eq!(findings(&vec![vec![100.0, 100.0, 900.0]; 20]), []);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, key) in [
        (r#"{"threshold": 0}"#, "`threshold`"),
        (r#"{"least_siblings": 1}"#, "`least_siblings`"),
        (r#"{"relative": 2}"#, "`relative`"),
        (r#"{"fresh_seconds": 0}"#, "`fresh_seconds`"),
    ] {
        let Err(Error::Invalid(message)) = detect::<Peers>(settings, &[]) else {
            panic!("{settings} passed")
        };
        assert!(message.contains(key), "{settings}: {message}");
    }
}
