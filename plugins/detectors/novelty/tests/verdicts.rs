//! Verdicts of the detector on test series, through the adapter that the plugin is exported with.

use anomalyzer_novelty::Novelty;
use anomalyzer_plugin_sdk::bindings::detector::exports::anomalyzer::plugin::detector::Series as Opened;
use anomalyzer_plugin_sdk::test::series::{Random, Series};
use anomalyzer_plugin_sdk::test::{
    Direction, Finding, Phase, assert_lawful_detector, assert_lawful_memory, detect, every_second,
};
use anomalyzer_plugin_sdk::{Error, Frame, Verdict, Watch};

/// Seed of noise that is calm about its samples 700 and 1000.
const SEED: u64 = 7;

fn verdict(samples: &[(i64, f64)]) -> Verdict {
    detect::<Novelty>("{}", samples).expect("valid settings")
}

fn findings(series: Series) -> Vec<Finding> {
    verdict(&series.samples()).findings
}

fn onsets(findings: &[Finding]) -> Vec<u32> {
    findings
        .iter()
        .filter(|finding| finding.phase == Phase::Onset)
        .map(|finding| finding.sample)
        .collect()
}

/// Returns `samples` samples of 100 ± 5 with a daily rhythm, 5 minutes apart.
fn rhythm(samples: usize) -> Vec<(i64, f64)> {
    let series = Series::noise(1, samples, 100.0, 5.0)
        .season(288, 40.0)
        .samples();
    series
        .into_iter()
        .enumerate()
        .map(|(i, (_, value))| (i as i64 * 300_000, value))
        .collect()
}

#[test]
fn whatever_comes_it_keeps_the_law() {
    assert_lawful_detector::<Novelty>("{}");
    assert_lawful_memory::<Novelty>("{}");
    assert_lawful_detector::<Novelty>(
        r#"{"threshold": 0.3, "min_samples": 50, "clear_samples": 1, "hold_at_most": 20}"#,
    );
}

#[test]
fn a_surge_begins_and_ends_with_words_for_all_of_it() {
    let mut found = findings(Series::noise(SEED, 1000, 100.0, 5.0).shift(700..720, 80.0));
    found.retain(|finding| finding.sample >= 700);
    let phases: Vec<_> = found
        .iter()
        .map(|finding| (finding.sample, finding.phase, finding.direction))
        .collect();
    assert_eq!(
        phases,
        [
            (700, Phase::Onset, Direction::Above),
            (724, Phase::Clear, Direction::Above)
        ],
        "{found:?}"
    );
    let [onset, clear] = &found[..] else {
        panic!("{found:?}")
    };
    let expected = onset.expected.expect("a range");
    assert!(
        expected.low > 70.0
            && expected.low < 100.0
            && expected.high > 100.0
            && expected.high < 130.0,
        "{expected:?}"
    );
    for word in [
        "is above the",
        "that were expected",
        "new to",
        "of 7 views",
        "unusual since 2026-01-01T02:5",
    ] {
        assert!(onset.reason.contains(word), "{word}: {}", onset.reason);
    }
    assert_eq!(clear.expected, onset.expected);
    assert!(
        clear.reason.contains("again, for 5 samples in a row"),
        "{}",
        clear.reason
    );
    assert!(onset.severity > 1.0 && onset.severity == onset.score);
}

#[test]
fn a_level_that_stays_is_accepted_within_bounds() {
    for by in [-90.0, 60.0, 1e6] {
        let found = findings(Series::noise(SEED, 3000, 100.0, 5.0).shift(1000.., by));
        let at = found
            .iter()
            .position(|finding| finding.sample == 1000)
            .expect("an onset");
        let clear = found[at..]
            .iter()
            .find(|finding| finding.phase == Phase::Clear)
            .expect("an end");
        assert!((1100..=2000).contains(&clear.sample), "{by}: {found:?}");
        assert!(onsets(&found[at..]).len() <= 4, "{by}: {found:?}");
    }
}

#[test]
fn a_day_that_differs_from_all_days_is_found() {
    let mut samples = rhythm(288 * 21);
    // At the peak of the rhythm, the series is at its mean. These values were seen before, but at
    // another time of the day.
    for (i, (_, value)) in samples.iter_mut().enumerate().skip(288 * 18) {
        if i < 288 * 19 {
            *value -= 40.0 * (i as f64 / 288.0 * std::f64::consts::TAU).sin();
        }
    }
    let found = onsets(&verdict(&samples).findings);
    assert!(
        found.iter().any(|at| (288 * 18..288 * 19).contains(at)),
        "{found:?}"
    );
    assert!(
        found.iter().filter(|at| **at > 288 * 8).count() <= 4,
        "{found:?}"
    );
}

#[test]
fn plain_noise_alarms_seldom_and_seldomer_the_longer_it_is_known() {
    let all: Vec<u32> = (0..20)
        .flat_map(|seed| onsets(&findings(Series::noise(seed, 10_000, 100.0, 5.0))))
        .collect();
    let late = all.iter().filter(|at| **at >= 5000).count();
    assert!(
        all.len() <= 200 && late * 2 <= all.len(),
        "{} of which late {late}",
        all.len()
    );
}

#[test]
fn constants_and_their_changes_alarm_once() {
    assert!(findings(Series::of([5.0; 2000])).is_empty());
    // PromQL computes one ratio as 0.30000000000000004 and as 0.3. Both must count as equal.
    let rounding = (0..2000).map(|i| if i % 7 == 0 { 0.1 + 0.2 } else { 0.3 });
    assert!(findings(Series::of(rounding)).is_empty());
    let once = findings(Series::of([5.0; 2000]).spike(900, 1.0));
    assert_eq!(onsets(&once), [900], "{once:?}");
    let again = Series::of([5.0; 4000])
        .spike(900, 1.0)
        .spike(1500, 1.0)
        .spike(2100, 1.0)
        .spike(2700, 1.0);
    assert!(onsets(&findings(again)).len() <= 4);
    let jump = findings(Series::of([5.0; 2000]).shift(900.., 1.0));
    assert_eq!(onsets(&jump), [900], "{jump:?}");
}

#[test]
fn nothing_is_found_before_enough_was_seen() {
    for samples in 0..200 {
        let series = Series::noise(3, 200, 100.0, 5.0)
            .spike(samples, 1e6)
            .samples();
        let verdict = verdict(&series);
        assert!(verdict.findings.is_empty() && verdict.scores.iter().all(|score| *score == 0.0));
    }
    assert_eq!(
        onsets(&findings(Series::noise(3, 201, 100.0, 5.0).spike(200, 1e6))),
        [200]
    );
}

#[test]
fn gaps_and_restarts_of_a_counter_are_survived() {
    let found = onsets(&findings(
        Series::noise(SEED, 2000, 100.0, 5.0).gap(1000, u32::MAX),
    ));
    assert!(
        found.iter().all(|at| !(1000..1100).contains(at)),
        "{found:?}"
    );
    // A counter that restarts at 2^53 is new once.
    let counter = (0..3000).map(|i| 9_007_199_254_740_992.0 + f64::from(i % 1500) * 1e12);
    let found = findings(Series::of(counter));
    assert!(onsets(&found).len() <= 8, "{found:?}");
}

#[test]
fn where_the_series_is_and_how_large_changes_nothing() {
    let values = |at: f64, times: f64| {
        let series = Series::noise(5, 3000, 0.0, 1.0)
            .season(96, 3.0)
            .spike(2000, 40.0)
            .shift(2500..2560, 12.0);
        onsets(&findings(series.change(.., |_, value| at + times * value)))
    };
    let here = values(0.0, 1.0);
    assert!(here.contains(&2000) && here.contains(&2500), "{here:?}");
    for (at, times) in [
        (1e6, 1.0),
        (0.0, 1e100),
        (0.0, 1e-100),
        (9_007_199_254_740_992.0, 1e9),
    ] {
        assert_eq!(values(at, times), here, "{at} {times}");
    }
}

#[test]
fn what_is_kept_of_a_series_is_bounded() {
    let mut random = Random::new(6);
    let samples = every_second((0..30_000).map(|_| random.share() * random.share() * 1e6));
    let mut watch = Watch::<Novelty>::open("{}").unwrap();
    let frame = Frame {
        now: 0,
        opened: vec![Opened {
            id: 0,
            labels: vec![],
        }],
        closed: vec![],
        ids: vec![0; samples.len()],
        at: samples.iter().map(|(at, _)| *at).collect(),
        values: samples.iter().map(|(_, value)| *value).collect(),
    };
    watch.observe(&frame, false).unwrap();
    let saved = watch.save(Some(0)).unwrap().len();
    assert!(saved < 10_000, "{saved} bytes");
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (settings, key) in [
        (r#"{"threshold": 0}"#, "`threshold`"),
        (r#"{"treshold": 1}"#, "`treshold`"),
        (r#"{"min_samples": 49}"#, "`min_samples`"),
        (r#"{"clear_samples": 0}"#, "`clear_samples`"),
        (r#"{"hold_at_most": 0}"#, "`hold_at_most`"),
    ] {
        let Err(Error::Invalid(message)) = detect::<Novelty>(settings, &[]) else {
            panic!("{settings} passed")
        };
        assert!(message.contains(key), "{settings}: {message}");
    }
}
