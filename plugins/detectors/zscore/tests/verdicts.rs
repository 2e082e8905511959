//! Verdicts of the detector on test series, through the adapter that the plugin is exported with.

use anomalyzer_plugin_sdk::bindings::detector::exports::anomalyzer::plugin::detector::Series;
use anomalyzer_plugin_sdk::test::{
    Direction, Finding, Phase, assert_lawful_detector, assert_lawful_memory, detect,
    detect_in_frames, detect_over_restarts, every_second,
};
use anomalyzer_plugin_sdk::{Error, Frame, Verdict, Watch};
use anomalyzer_zscore::ZScore;
use proptest::prelude::*;

fn verdict(settings: &str, values: &[f64]) -> Verdict {
    detect::<ZScore>(settings, &every_second(values.iter().copied())).expect("valid settings")
}

fn findings(settings: &str, values: &[f64]) -> Vec<Finding> {
    verdict(settings, values).findings
}

/// Returns 90 and 110 in turn: mean 100, standard deviation 10.
fn steady(samples: usize) -> Vec<f64> {
    (0..samples)
        .map(|i| if i % 2 == 0 { 90.0 } else { 110.0 })
        .collect()
}

fn phases(findings: &[Finding]) -> Vec<(u32, Phase, Direction)> {
    findings
        .iter()
        .map(|finding| (finding.sample, finding.phase, finding.direction))
        .collect()
}

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<ZScore>("{}");
    assert_lawful_detector::<ZScore>(
        r#"{"window": 5, "for_samples": 2, "hold": false, "min_deviation": 0.1}"#,
    );
    assert_lawful_memory::<ZScore>("{}");
    assert_lawful_memory::<ZScore>(r#"{"window": 5, "for_samples": 3}"#);
}

/// Settings with thresholds of 3 and otherwise the defaults. No sample of `steady` is then out of
/// range.
const THREE: &str = r#"{"spike": 3, "drop": 3}"#;

#[test]
fn a_spike_begins_and_ends_an_anomaly_with_figures() {
    let mut values = steady(60);
    values.extend([150.0, 150.0, 105.0, 95.0, 105.0]);
    let findings = findings(THREE, &values);
    assert_eq!(
        phases(&findings),
        [
            (60, Phase::Onset, Direction::Above),
            (64, Phase::Clear, Direction::Above)
        ],
        "{findings:?}"
    );
    let onset = &findings[0];
    assert_eq!(
        onset.reason,
        "150 is 5.0 standard deviations above the mean 100 of the last 60 samples"
    );
    let expected = onset.expected.unwrap();
    assert_eq!((expected.low, expected.high), (70.0, 130.0));
    assert!((onset.score - 5.0 / 3.0).abs() < 1e-12 && onset.severity == onset.score);
    assert_eq!(
        findings[1].expected, onset.expected,
        "the range is that of the onset"
    );
    assert_eq!(
        findings[1].reason,
        "105 is near the mean 100 again, for 3 samples in a row"
    );
}

#[test]
fn spikes_and_drops_have_thresholds_of_their_own() {
    let with = |value: f64| [steady(60), vec![value]].concat();
    assert_eq!(
        phases(&findings("{}", &with(116.0))),
        [(60, Phase::Onset, Direction::Above)]
    );
    assert!(findings("{}", &with(114.0)).is_empty());
    assert!(findings("{}", &with(71.0)).is_empty());
    assert_eq!(
        phases(&findings("{}", &with(69.0))),
        [(60, Phase::Onset, Direction::Below)]
    );
}

#[test]
fn nothing_is_found_before_enough_samples_were_seen() {
    let values = [vec![1.0; 19], vec![1e9; 1]].concat();
    assert!(findings("{}", &values).is_empty());
    let values = [vec![1.0; 20], vec![1e9; 1]].concat();
    assert_eq!(findings("{}", &values).len(), 1);
}

#[test]
fn a_change_of_a_constant_has_a_score_that_is_bounded() {
    let found = findings("{}", &[vec![5.0; 60], vec![6.0]].concat());
    assert_eq!(found[0].score, 1e6 / 1.5);
    assert_eq!(
        found[0].reason,
        "6 is above the constant 5 of the last 60 samples"
    );
}

#[test]
fn a_least_deviation_keeps_a_quiet_series_quiet() {
    let values = [vec![5.0; 60], vec![6.0]].concat();
    assert!(findings(r#"{"min_deviation": 1}"#, &values).is_empty());
    assert!(findings(r#"{"relative_deviation": 0.2}"#, &values).is_empty());
    assert_eq!(findings(r#"{"relative_deviation": 0.1}"#, &values).len(), 1);
}

#[test]
fn an_anomaly_needs_so_many_samples_in_a_row() {
    let settings = r#"{"spike": 3, "drop": 3, "for_samples": 3}"#;
    let blips = [
        steady(60),
        vec![200.0, 200.0, 100.0, 200.0, 200.0, 10.0, 200.0],
    ]
    .concat();
    assert!(
        findings(settings, &blips).is_empty(),
        "never three in a row on the same side"
    );
    let lasting = [steady(60), vec![200.0, 200.0, 200.0]].concat();
    assert_eq!(
        phases(&findings(settings, &lasting)),
        [(62, Phase::Onset, Direction::Above)]
    );
}

#[test]
fn it_is_told_again_only_when_it_got_worse_by_half() {
    let values = [steady(60), vec![150.0, 160.0, 174.0, 176.0, 200.0, 220.0]].concat();
    let findings = findings(THREE, &values);
    assert_eq!(
        phases(&findings),
        [
            (60, Phase::Onset, Direction::Above),
            (63, Phase::Ongoing, Direction::Above),
            (65, Phase::Ongoing, Direction::Above)
        ]
    );
    assert_eq!(
        findings[1].reason,
        "176 is 7.6 standard deviations above the mean 100 of before"
    );
}

#[test]
fn while_an_anomaly_lasts_the_range_is_held_until_the_new_level_is_accepted() {
    let values = [steady(60), vec![300.0; 700]].concat();
    let found = findings(THREE, &values);
    assert_eq!(
        phases(&found),
        [
            (60, Phase::Onset, Direction::Above),
            (660, Phase::Clear, Direction::Above)
        ]
    );
    assert_eq!(
        found[1].reason,
        "300 after 600 samples that were mostly out: accepted as the new level"
    );

    // Without `hold`, the window soon knows the new level.
    let found = findings(r#"{"spike": 3, "drop": 3, "hold": false}"#, &values);
    assert_eq!(found.len(), 2);
    assert!(found[1].sample < 70, "{found:?}");
}

#[test]
fn an_outage_does_not_blind_the_window_to_the_next() {
    let outage = |level: f64| [vec![level; 30], steady(20)].concat();
    let found = findings(THREE, &[steady(60), outage(1e6), outage(160.0)].concat());
    let phases: Vec<Phase> = found.iter().map(|finding| finding.phase).collect();
    assert_eq!(
        phases,
        [Phase::Onset, Phase::Clear, Phase::Onset, Phase::Clear],
        "{found:?}"
    );
}

/// Returns numbers that look normally distributed (the sum of twelve uniform ones), from a fixed
/// seed.
fn noise(samples: usize) -> Vec<f64> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..samples)
        .map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0)
        .collect()
}

#[test]
fn the_window_does_not_shrink_on_plain_noise_although_it_holds() {
    let values = noise(20_000);
    let onsets = |settings: &str| {
        findings(settings, &values)
            .iter()
            .filter(|finding| finding.phase == Phase::Onset)
            .count() as f64
    };
    let scores = |settings: &str| {
        verdict(settings, &values)
            .scores
            .iter()
            .filter(|score| **score > 1.0)
            .count() as f64
    };
    assert!(onsets("{}") > 0.0);
    let (held, free) = (scores("{}"), scores(r#"{"hold": false}"#));
    assert!(
        held < free * 1.1,
        "{held} samples out with hold, {free} without"
    );
}

#[test]
fn what_was_saved_with_another_window_is_refused() {
    let frame = Frame {
        now: 0,
        opened: vec![Series {
            id: 0,
            labels: vec![],
        }],
        closed: vec![],
        ids: vec![0; 30],
        at: (0..30).collect(),
        values: steady(30),
    };
    let mut watch = Watch::<ZScore>::open("{}").unwrap();
    watch.observe(&frame, false).unwrap();
    let saved = watch.save(Some(0)).unwrap();
    let mut other = Watch::<ZScore>::open(r#"{"window": 20}"#).unwrap();
    let refused = other.restore(
        Some(Series {
            id: 0,
            labels: vec![],
        }),
        "0.1.0",
        &saved,
    );
    assert_eq!(
        refused,
        Err(Error::Invalid("it has no window of 20 samples".to_owned()))
    );
    assert!(
        matches!(watch.save(Some(1)), Err(Error::Failed(_))),
        "no such series"
    );
    assert!(
        matches!(watch.save(None), Err(Error::Unsupported(_))),
        "they share nothing"
    );
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, key) in [
        (r#"{"window": 1}"#, "`window`"),
        (r#"{"window": 10001}"#, "`window`"),
        (r#"{"window": "60"}"#, "`window`"),
        (r#"{"windw": 60}"#, "`windw`"),
        (r#"{"spike": 0}"#, "`spike`"),
        (r#"{"drop": -3}"#, "`drop`"),
        (r#"{"min_samples": 61}"#, "`min_samples`"),
        (r#"{"for_samples": 0}"#, "`for_samples`"),
        (r#"{"clear_samples": 0}"#, "`clear_samples`"),
        (r#"{"min_deviation": -1}"#, "`min_deviation`"),
        (r#"{"relative_deviation": -1}"#, "`relative_deviation`"),
        (r#"{"hold_at_most": 0}"#, "`hold_at_most`"),
    ] {
        let Err(Error::Invalid(message)) = detect::<ZScore>(settings, &[]) else {
            panic!("{settings} passed")
        };
        assert!(message.contains(key), "{settings}: {message}");
    }
    detect::<ZScore>(r#"{"window": 5}"#, &[])
        .expect("the default of min_samples follows the window");
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![8 => 90.0..110.0, 2 => 100.0..1000.0, 1 => Just(0.0), 1 => any::<f64>().prop_filter("finite", |v| v.is_finite())]
}

fn any_settings() -> impl Strategy<Value = String> {
    (2u32..20, 1u32..4, 1u32..4, any::<bool>(), 1u32..30).prop_map(|(window, for_samples, clear, hold, most)| {
        format!(
            r#"{{"window": {window}, "for_samples": {for_samples}, "clear_samples": {clear}, "hold": {hold}, "hold_at_most": {most}}}"#
        )
    })
}

proptest! {
    #[test]
    fn where_a_frame_ends_changes_nothing(
        values in prop::collection::vec(any_value(), 1..200),
        ends in prop::collection::vec(0usize..200, 0..10),
        settings in any_settings(),
    ) {
        let samples = every_second(values);
        let whole = detect::<ZScore>(&settings, &samples).unwrap();
        prop_assert_eq!(detect_in_frames::<ZScore>(&settings, &samples, &ends).unwrap(), whole);
    }

    #[test]
    fn where_it_is_saved_and_restored_changes_nothing(
        values in prop::collection::vec(any_value(), 1..200),
        restarts in prop::collection::vec(0usize..200, 0..10),
        settings in any_settings(),
    ) {
        let samples = every_second(values);
        let whole = detect::<ZScore>(&settings, &samples).unwrap();
        prop_assert_eq!(detect_over_restarts::<ZScore>(&settings, &samples, &restarts).unwrap(), whole);
    }

    #[test]
    fn what_nobody_saved_is_refused_or_does_no_harm(
        mut saved in prop::collection::vec(any::<u8>(), 0..80),
        with_head in any::<bool>(),
    ) {
        if with_head {
            saved.splice(0..0, b"\x06zscore\x01".iter().copied());
        }
        let mut watch = Watch::<ZScore>::open(r#"{"window": 2}"#).unwrap();
        let series = Series { id: 0, labels: vec![] };
        let restored = watch.restore(Some(series), "0.1.0", &saved);
        let values = [1.0, 1e9, 1.0, 1.0, 7.0];
        let frame = Frame { now: 0, opened: vec![], closed: vec![], ids: vec![0; 5], at: (0..5).collect(), values: values.to_vec() };
        prop_assert_eq!(watch.observe(&frame, true).is_ok(), restored.is_ok());
    }

    #[test]
    fn phases_alternate_and_figures_are_finite(values in prop::collection::vec(any_value(), 1..300), settings in any_settings()) {
        let verdict = verdict(&settings, &values);
        prop_assert!(verdict.scores.iter().all(|score| score.is_finite() && *score >= 0.0));
        let mut open = false;
        for finding in &verdict.findings {
            prop_assert_eq!(open, finding.phase != Phase::Onset);
            open = finding.phase != Phase::Clear;
            prop_assert!(finding.score.is_finite() && finding.severity.is_finite());
            prop_assert!(!finding.reason.contains('\n') && !finding.reason.contains("NaN"));
        }
    }
}
