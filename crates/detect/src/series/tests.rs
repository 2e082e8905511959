use std::collections::HashMap;

use anomalyzer_domain::{Labels, Sample, Series, Target};
use anomalyzer_plugin_host::Frame;
use anomalyzer_wire::AcceptedTime;
use anomalyzer_wire::remote_write::{self, Walk};

use super::SeriesTable;
use super::table::{IDLE_MS, MAX_SERIES, SCAN_INTERVAL_MS};

fn web() -> Target {
    Target::new("", "Process", "web")
}

fn walk(payload: &[u8]) -> Walk<'_> {
    remote_write::walk(payload, AcceptedTime::at(i64::MAX))
}

#[test]
fn a_series_of_a_clock_that_was_ahead_begins_anew_and_loses_no_sample() {
    let mut table = SeriesTable::default();
    let feed = |table: &mut SeriesTable, latest: i64, at: i64| {
        let mut frame = Frame::default();
        table.set_latest(latest);
        let series = Series {
            labels: Labels::new([("a", "b")]),
            samples: vec![Sample { at, value: 1.0 }],
        };
        table.feed(&mut frame, &web(), &[series]);
        (frame.opened.len(), frame.closed, frame.ids)
    };
    assert_eq!(feed(&mut table, 1_000_100, 1_000_000), (1, vec![], vec![0]));
    // The clock is right again.
    assert_eq!(feed(&mut table, 600, 500), (1, vec![0], vec![1]));
    assert_eq!(feed(&mut table, 700, 600), (0, vec![], vec![1]));
    assert_eq!((table.len(), table.late), (1, 0));
    // A sample that is only late stays late.
    assert_eq!(feed(&mut table, 800, 550), (0, vec![], vec![]));
    assert_eq!((table.late, table.repeated), (1, 0));
}

fn feed(samples: &[(i64, f64)]) -> (Frame, SeriesTable) {
    let (mut frame, mut table) = (Frame::default(), SeriesTable::default());
    let samples: Vec<Sample> = samples
        .iter()
        .map(|(at, value)| Sample {
            at: *at,
            value: *value,
        })
        .collect();
    table.feed(
        &mut frame,
        &web(),
        &[Series {
            labels: Labels::new([("a", "b")]),
            samples,
        }],
    );
    (frame, table)
}

#[test]
fn late_repeated_and_non_finite_samples_never_reach_a_guest() {
    let (frame, table) = feed(&[
        (1, 1.0),
        (1, 2.0),
        (3, f64::NAN),
        (4, f64::INFINITY),
        (2, 2.0),
        (2, 9.0),
        (5, 5.0),
    ]);
    assert_eq!(frame.values, [1.0, 2.0, 5.0]);
    assert_eq!((table.late, table.not_finite), (2, 2));
}

#[test]
fn a_stale_marker_closes_the_series_and_its_id_is_not_used_again() {
    let stale = f64::from_bits(anomalyzer_domain::STALE_NAN_BITS);
    let (frame, table) = feed(&[(1, 1.0), (2, stale), (3, 3.0)]);
    assert_eq!(frame.closed, [0]);
    assert_eq!(
        frame.opened.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(table.len(), 1);
}

#[test]
fn the_past_of_a_frame_ends_where_the_frame_begins() {
    let (_, mut table) = feed(&[(1, 1.0), (2, 2.0)]);
    let mut frame = Frame::default();
    let series = Series {
        labels: Labels::new([("a", "b")]),
        samples: vec![Sample { at: 3, value: 3.0 }],
    };
    table.feed(&mut frame, &web(), &[series]);
    let past = table.recent_past(&frame).frame(&HashMap::new());
    assert_eq!(
        (past.values.as_slice(), past.opened.len()),
        ([1.0, 2.0].as_slice(), 1)
    );
    let rest = table.recent_past(&frame).frame(&HashMap::from([(0, 1)]));
    assert_eq!(
        (rest.values.as_slice(), rest.opened.len()),
        ([2.0].as_slice(), 0),
        "it was restored up to 1"
    );
}

#[test]
fn a_series_that_was_recalled_takes_only_what_comes_after_its_watermark() {
    let labels = Labels::new([("a", "b")]);
    let (mut frame, mut table) = (Frame::default(), SeriesTable::default());
    assert_eq!(table.restore(&web(), &labels, 2, 9), Some((0, 2)));
    assert_eq!(
        table.restore(&web(), &labels, 7, 9),
        Some((0, 2)),
        "it is open"
    );
    let samples = (1..=4)
        .map(|at| Sample {
            at,
            value: at as f64,
        })
        .collect();
    table.feed(&mut frame, &web(), &[Series { labels, samples }]);
    assert_eq!(
        (frame.values.as_slice(), frame.opened.len(), table.late),
        ([3.0, 4.0].as_slice(), 0, 2)
    );
    assert_eq!(table.unsaved(), [0]);
    table.set_saved(&[0]);
    assert!(table.unsaved().is_empty());
}

#[test]
fn a_recalled_series_is_silent_from_the_recall_on() {
    let (mut frame, mut table) = (Frame::default(), SeriesTable::default());
    let now = 10 * IDLE_MS;
    table.restore(&web(), &Labels::default(), 1, now);
    table.close_idle(&mut frame, now);
    assert_eq!(table.len(), 1);
    table.close_idle(&mut frame, now + IDLE_MS + 1);
    assert_eq!(table.len(), 0);
}

#[test]
fn a_past_is_sorted_and_shows_also_what_came_before_the_watermark() {
    let labels = Labels::new([("a", "b")]);
    let mut table = SeriesTable::default();
    table.restore(&web(), &labels, 2, 9);
    let samples = [3, 1, 2, 2]
        .map(|at| Sample {
            at,
            value: at as f64,
        })
        .to_vec();
    let new = Series {
        labels: Labels::default(),
        samples: vec![
            Sample {
                at: 1,
                value: f64::NAN,
            },
            Sample { at: 2, value: 5.0 },
        ],
    };
    let history = table.fill(vec![(web(), Series { labels, samples }), (web(), new)], 9);
    assert_eq!(history.frame(&HashMap::new()).values, [1.0, 2.0, 3.0, 5.0]);
    assert_eq!(history.frame(&HashMap::from([(0, 2)])).values, [3.0, 5.0]);
    assert_eq!((table.late, table.not_finite, table.len()), (0, 0, 2));
}

#[test]
fn encoded_series_are_the_same_series_and_a_broken_end_leaves_what_came_before() {
    let series = |name: &str, at| Series {
        labels: Labels::new([("a", "b"), ("name", name)]),
        samples: vec![Sample { at, value: 1.0 }],
    };
    let (mut frame, mut table) = (Frame::default(), SeriesTable::default());
    table.feed(&mut frame, &web(), &[series("x", 1)]);
    for at in [2, 3] {
        let payload = remote_write::encode(&[series("x", at), series("y", at)]);
        table
            .feed_encoded(&mut frame, &web(), walk(&payload))
            .unwrap();
    }
    assert_eq!(frame.ids, [0, 0, 1, 0, 1]);
    let mut broken = remote_write::encode(&[series("x", 4), series("y", 4)]);
    broken.truncate(broken.len() - 1);
    assert!(
        table
            .feed_encoded(&mut frame, &web(), walk(&broken))
            .is_err()
    );
    assert_eq!(frame.ids, [0, 0, 1, 0, 1, 0]);
    // Closed, a series is a new one even if it comes in the same bytes.
    let stale = Series {
        samples: vec![Sample::stale_marker(5)],
        ..series("x", 5)
    };
    table
        .feed_encoded(
            &mut frame,
            &web(),
            walk(&remote_write::encode(&[stale, series("x", 6)])),
        )
        .unwrap();
    assert_eq!(
        (frame.closed.as_slice(), frame.ids.last()),
        ([0].as_slice(), Some(&2))
    );
    assert_eq!(table.len(), 2);
}

#[test]
fn what_is_silent_for_an_hour_is_forgotten_with_its_bytes() {
    let series = Series {
        labels: Labels::new([("a", "b")]),
        samples: vec![Sample { at: 1, value: 1.0 }],
    };
    let (mut frame, mut table) = (Frame::default(), SeriesTable::default());
    table
        .feed_encoded(&mut frame, &web(), walk(&remote_write::encode(&[series])))
        .unwrap();
    table.close_idle(&mut frame, IDLE_MS);
    assert_eq!((table.len(), table.groups.len()), (1, 1));
    table.close_idle(&mut frame, IDLE_MS + SCAN_INTERVAL_MS);
    assert_eq!(
        (table.len(), table.groups.len(), frame.closed.as_slice()),
        (0, 0, [0].as_slice())
    );
}

#[test]
fn more_series_than_are_watched_are_overlooked_and_counted_until_others_end() {
    let series = |name: usize, at| Series {
        labels: Labels::new([("name", name.to_string())]),
        samples: vec![Sample { at, value: 1.0 }],
    };
    let (mut frame, mut table) = (Frame::default(), SeriesTable::default());
    let all: Vec<Series> = (0..MAX_SERIES + 2).map(|name| series(name, 1)).collect();
    table.feed(&mut frame, &web(), &all);
    assert_eq!((table.len(), table.dropped), (MAX_SERIES, 2));
    let stale = Series {
        samples: vec![Sample::stale_marker(2)],
        ..series(0, 2)
    };
    table.feed(&mut frame, &web(), &[stale, series(MAX_SERIES, 2)]);
    assert_eq!((table.len(), table.dropped), (MAX_SERIES, 2));
}

#[test]
fn a_series_with_labels_that_can_t_be_used_costs_itself_only_and_is_counted() {
    let series = |pod: &str| Series {
        labels: Labels::new([("pod", pod)]),
        samples: vec![Sample { at: 1, value: 1.0 }],
    };
    let long = "x".repeat(anomalyzer_domain::MAX_LABEL_VALUE_BYTES + 1);
    for wrong in ["we\u{202e}b", "web\n", "\u{200b}", "\u{1b}[2J", &long] {
        let all = [series("a"), series(wrong), series("b")];
        for is_encoded in [true, false] {
            let (mut table, mut frame) = (SeriesTable::default(), Frame::default());
            if is_encoded {
                let payload = remote_write::encode(&all);
                table
                    .feed_encoded(&mut frame, &web(), walk(&payload))
                    .unwrap();
            } else {
                table.feed(&mut frame, &web(), &all);
            }
            assert_eq!((table.len(), frame.ids.len()), (2, 2), "{wrong:?}");
            assert_eq!(table.refused, 1);
            let told = table.refused_series.unwrap();
            assert!(told.contains("`pod`"), "{told}");
            assert!(!told.contains(anomalyzer_domain::is_hidden), "{told:?}");
        }
    }
}
