use super::*;
use anomalyzer_domain::testing::{self, web};

fn batch(name: &str, labels: &str, at: UnixMs, foreign: bool) -> MetricBatch {
    let mut batch = MetricBatch {
        target: Some(Target::new("", "Process", name)),
        foreign,
        ..testing::batch("latency", at, 1.0)
    };
    batch.series[0].labels = Labels::new([("pod", labels)]);
    batch
}

fn newest(recent: &RecentSamples, name: &str) -> Option<UnixMs> {
    recent
        .coverage("latency", &Target::new("", "Process", name))?
        .1
}

#[test]
fn rounds_without_samples_are_remembered_for_who_did_not_answer() {
    let recent = RecentSamples::default();
    let target = web();
    let round = |at: UnixMs, answered: u32| {
        let samples = if answered > 0 {
            vec![Sample { at, value: 1.0 }]
        } else {
            vec![]
        };
        recent.take(&MetricBatch {
            coverage: testing::coverage(2, answered),
            series: vec![testing::series(samples)],
            ..testing::batch("latency", at, 1.0)
        });
    };
    round(10, 2);
    round(20, 0);
    round(30, 1);
    let answered = |from, to| -> Vec<u32> {
        recent
            .rounds("latency", &target, from, to)
            .iter()
            .map(|coverage| coverage.answered)
            .collect()
    };
    assert_eq!(
        (answered(0, 100), answered(15, 25)),
        (vec![2, 0, 1], vec![0])
    );
    let (last, newest) = recent.coverage("latency", &target).unwrap();
    assert_eq!((last.answered, newest), (1, Some(30)));
    // A flood of rounds stays bounded.
    (40..2_000).for_each(|at| round(at, 2));
    assert_eq!(answered(0, 2_000).len(), MAX_SAMPLES);
}

#[test]
fn a_new_stream_finds_room_for_which_the_idle_go_and_those_of_others_before_them() {
    let recent = RecentSamples::default();
    recent.take(&batch("old", "a", 1, false));
    for number in 1..MAX_STREAMS {
        recent.take(&batch(&number.to_string(), "a", 2 + number as UnixMs, true));
    }
    assert_eq!(
        recent.status(),
        RecentStatus {
            streams: MAX_STREAMS,
            capacity: MAX_STREAMS,
            evicted: 0
        }
    );
    let now = 1_000_000;
    recent.take(&batch("new", "a", now, true));
    assert_eq!(
        (newest(&recent, "new"), newest(&recent, "old")),
        (Some(now), Some(1))
    );
    assert_eq!(
        (newest(&recent, "1"), newest(&recent, "19999")),
        (None, Some(20_001))
    );
    let status = recent.status();
    assert_eq!(
        (status.streams, status.evicted),
        (MAX_STREAMS - EVICTION_BATCH + 1, EVICTION_BATCH as u64)
    );
}

#[test]
fn a_new_series_of_a_stream_finds_the_room_of_the_one_that_is_idle() {
    let recent = RecentSamples::default();
    for number in 0..=MAX_SERIES {
        recent.take(&batch("web", &number.to_string(), number as UnixMs, false));
    }
    let series = recent.samples(
        "latency",
        &Target::new("", "Process", "web"),
        0,
        UnixMs::MAX,
    );
    assert_eq!(series.len(), MAX_SERIES);
    assert_eq!(newest(&recent, "web"), Some(MAX_SERIES as UnixMs));
    assert!(
        series
            .iter()
            .all(|series| series.labels.get("pod") != Some("0"))
    );
}

proptest::proptest! {
    #[test]
    fn no_time_makes_it_panic(times in proptest::collection::vec(proptest::prelude::any::<i64>(), 1..9)) {
        let recent = RecentSamples::default();
        times.into_iter().for_each(|at| recent.take(&batch("web", "a", at, false)));
    }
}

#[test]
fn a_clock_that_is_set_back_leaves_no_round_of_the_future() {
    let hour = 3_600_000;
    for (back, is_kept) in [
        (1_000, true),
        (60_000, true),
        (61_000, false),
        (hour, false),
    ] {
        let recent = RecentSamples::default();
        let (before, after) = (10 * hour, 10 * hour - back);
        recent.take(&batch("web", "a", before, false));
        let mut incomplete = batch("web", "a", after, false);
        incomplete.coverage.failed = 1;
        recent.take(&incomplete);
        let target = Target::new("", "Process", "web");
        let (coverage, newest) = recent.coverage("latency", &target).unwrap();
        let expected = if is_kept { (0, before) } else { (1, after) };
        assert_eq!((coverage.failed, newest.unwrap()), expected, "{back}");
    }
    // Another producer may replay old samples.
    let recent = RecentSamples::default();
    recent.take(&batch("web", "a", 10 * hour, false));
    recent.take(&batch("web", "a", hour, true));
    assert_eq!(newest(&recent, "web"), Some(10 * hour));
}
