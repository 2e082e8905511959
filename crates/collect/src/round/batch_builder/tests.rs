use anomalyzer_domain::Coverage;

use super::*;

fn signal(name: &str) -> SignalConfig {
    let text = format!(
        "name = 's'\nsource = {{ query = 'q' }}\ntarget = {{ kind = 'Pod', name = '{name}' }}"
    );
    toml::from_str(&text).unwrap()
}

/// Returns a builder that forgets after the given number of milliseconds.
fn builder(forget_after: u64) -> BatchBuilder {
    bounded(1_000, 1_000, forget_after)
}

fn bounded(max_targets: usize, max_series: usize, forget_after: u64) -> BatchBuilder {
    BatchBuilder::new(PublishBounds {
        max_targets,
        max_series,
        forget_after: Duration::from_millis(forget_after),
    })
}

fn coverage(asked: u32, answered: u32, failed: u32) -> Coverage {
    Coverage {
        asked,
        answered,
        failed,
    }
}

fn answer(pod: &str, values: &[(&str, f64)], coverage: Coverage) -> Answer {
    let series = values
        .iter()
        .map(|(path, value)| (Labels::new([("path", *path)]), *value))
        .collect();
    let targets = [(
        Target::new("", "Pod", pod),
        TargetSeries {
            coverage,
            series,
            ..TargetSeries::default()
        },
    )]
    .into();
    Answer {
        targets,
        ..Answer::default()
    }
}

/// Returns path and value of each published series; a stale marker is shown as `gone`.
fn shown(batch: &MetricBatch) -> Vec<String> {
    let shown = |series: &Series| {
        assert_eq!(series.labels.get("__name__"), Some("s"));
        let [sample] = series.samples[..] else {
            panic!("{series:?}")
        };
        let value = if sample.is_stale_marker() {
            "gone".to_owned()
        } else {
            sample.value.to_string()
        };
        format!("{} {value}", series.labels.get("path").unwrap())
    };
    batch.series.iter().map(shown).collect()
}

#[test]
fn a_series_whose_value_is_withheld_goes_on() {
    let (signal, mut ledger) = (signal("p"), builder(10));
    let labels = || Labels::new([("path", "/a")]);
    ledger.publish(
        &signal,
        1.into(),
        answer("p", &[("/a", 1.0)], coverage(1, 1, 0)),
    );
    let mut later = answer("p", &[], coverage(2, 1, 0));
    later
        .targets
        .values_mut()
        .for_each(|spoken| spoken.withheld = [labels()].into());
    assert!(
        ledger.publish(&signal, 2.into(), later)[0]
            .series
            .is_empty()
    );
    let at_last = ledger.publish(&signal, 3.into(), answer("p", &[], coverage(2, 2, 0)));
    assert!(at_last[0].series[0].samples[0].is_stale_marker());
}

#[test]
fn a_series_that_vanishes_from_an_answer_is_closed_once() {
    let (signal, mut ledger) = (signal("web"), builder(0));
    let mut publish = |at: i64, values: &[_]| {
        let batches = ledger.publish(&signal, at.into(), answer("web", values, coverage(1, 1, 0)));
        shown(&batches[0])
    };
    assert_eq!(publish(1, &[("/a", 1.0), ("/b", 2.0)]), ["/a 1", "/b 2"]);
    assert_eq!(publish(2, &[("/a", 1.0)]), ["/a 1", "/b gone"]);
    assert_eq!(publish(3, &[("/a", 1.0)]), ["/a 1"]);
    assert_eq!(publish(4, &[("/b", 3.0)]), ["/b 3", "/a gone"]);
}

#[test]
fn where_somebody_failed_nothing_is_closed_and_the_coverage_says_who() {
    let (signal, mut ledger) = (signal("web"), builder(100));
    ledger.publish(
        &signal,
        1.into(),
        answer("web", &[("/a", 1.0), ("/b", 1.0)], coverage(2, 2, 0)),
    );
    let batches = ledger.publish(
        &signal,
        2.into(),
        answer("web", &[("/a", 1.0)], coverage(2, 1, 1)),
    );
    assert_eq!(
        (shown(&batches[0]), batches[0].coverage),
        (vec!["/a 1".to_owned()], coverage(2, 1, 1))
    );
    let failed = Answer {
        otherwise: coverage(2, 0, 2),
        ..Answer::default()
    };
    let batches = ledger.publish(&signal, 3.into(), failed);
    assert_eq!(
        (shown(&batches[0]), batches[0].coverage),
        (vec![], coverage(2, 0, 2))
    );
    assert_eq!(ledger.series(), 2);
}

#[test]
fn a_fixed_target_is_spoken_of_before_anyone_ever_answered() {
    let failed = Answer {
        otherwise: coverage(1, 0, 1),
        ..Answer::default()
    };
    let batches = builder(0).publish(&signal("web"), 1.into(), failed);
    assert_eq!(batches.len(), 1);
    assert_eq!(
        (shown(&batches[0]), batches[0].coverage),
        (vec![], coverage(1, 0, 1))
    );
}

#[test]
fn a_target_that_nobody_speaks_for_is_forgotten_after_a_while() {
    let (signal, mut ledger) = (signal("{{pod}}"), builder(10));
    ledger.publish(
        &signal,
        0.into(),
        answer("web-1", &[("/a", 1.0)], coverage(1, 1, 0)),
    );
    let nothing = || Answer {
        otherwise: coverage(1, 0, 0),
        ..Answer::default()
    };
    assert_eq!(
        shown(&ledger.publish(&signal, 5.into(), nothing())[0]),
        ["/a gone"]
    );
    assert_eq!(ledger.publish(&signal, 11.into(), nothing()).len(), 1);
    assert_eq!(ledger.publish(&signal, 12.into(), nothing()).len(), 0);
}

/// Returns the moment of a round every 15 seconds, with the wall clock set by `jump`.
fn round(number: i64, jump: i64) -> Moment {
    Moment {
        wall: 1_700_000_000_000 + number * 15_000 + jump,
        steady: number * 15_000,
    }
}

#[test]
fn a_clock_that_is_set_back_begins_the_series_anew_and_blocks_nothing() {
    let year = 365 * 24 * 3_600_000;
    // Each case lists by how much the clock was set in each round, and if series begin anew.
    for (jumps, anew) in [
        ([0, -1_000, -1_000], [false, false]),
        ([0, -60_000, -60_000], [false, false]),
        ([0, -3_600_000, -3_600_000], [true, false]),
        ([0, 3_600_000, 0], [false, true]),
        ([0, 10 * year, 0], [false, true]),
        ([0, -10 * year, 0], [true, false]),
    ] {
        let (signal, mut ledger) = (signal("web"), builder(3_600_000));
        let mut publish = |number: i64, answer| {
            let now = round(number, jumps[number as usize]);
            ledger.publish(&signal, now, answer).remove(0)
        };
        let both = [("/a", 1.0), ("/b", 1.0)];
        publish(0, answer("web", &both, coverage(2, 2, 0)));
        for number in [1, 2] {
            // One source fails in the second round, so that `/b` has no value.
            let answer = match number {
                1 => answer("web", &both[..1], coverage(2, 1, 1)),
                _ => answer("web", &both, coverage(2, 2, 0)),
            };
            let batch = publish(number, answer);
            let markers = batch.series.iter().flat_map(|series| &series.samples);
            let markers = markers.filter(|sample| sample.is_stale_marker()).count();
            let values = batch.series.iter().filter(|series| {
                let last = series.samples.last();
                last.is_some_and(|sample| sample.value == 1.0)
            });
            assert_eq!(values.count(), number as usize, "{jumps:?}");
            let open = 2;
            assert_eq!(
                markers,
                if anew[number as usize - 1] { open } else { 0 },
                "{jumps:?} {number}"
            );
        }
    }
}

#[test]
fn a_clock_that_jumps_forgets_no_target_and_keeps_none_for_ever() {
    let (signal, mut ledger) = (signal("{{pod}}"), builder(20_000));
    let day = 24 * 3_600_000;
    ledger.publish(
        &signal,
        round(0, 3_650 * day),
        answer("web-1", &[("/a", 1.0)], coverage(1, 1, 0)),
    );
    let failed = |ledger: &mut BatchBuilder, now| {
        let otherwise = coverage(1, 0, 1);
        let failed = Answer {
            otherwise,
            ..Answer::default()
        };
        ledger.publish(&signal, now, failed).len()
    };
    assert_eq!(failed(&mut ledger, round(1, 0)), 1);
    assert_eq!(failed(&mut ledger, round(2, 7_300 * day)), 1);
    assert_eq!(failed(&mut ledger, round(3, 0)), 0);
}

#[test]
fn a_series_that_comes_and_goes_is_intermittent() {
    let (signal, mut ledger) = (signal("web"), builder(3_600_000));
    for number in 0..8 {
        let values: &[_] = if number % 2 == 0 { &[("/a", 1.0)] } else { &[] };
        let answer = answer("web", values, coverage(1, 1, 0));
        ledger.publish(&signal, round(number, 0), answer);
    }
    assert!(ledger.reopenings().intermittent().is_some());
}

#[test]
fn series_beyond_the_maximum_are_left_out_and_never_displace_open_ones() {
    let (signal, mut ledger) = (signal("{{path}}"), bounded(100, 100, 3_600_000));
    let honest = "honest";
    let mut with_flood = |number: i64, flood: usize| {
        let mut whole = answer("p", &[(honest, 1.0)], coverage(1, 1, 0));
        let spoken = whole.targets.values_mut().next().unwrap();
        let flood = (0..flood).map(|n| Labels::new([("path", format!("{number}-{n}"))]));
        spoken
            .series
            .splice(0..0, flood.map(|labels| (labels, 0.0)));
        let batches = ledger.publish(&signal, round(number, 0), whole);
        let values = batches[0].series.iter().filter(|series| {
            !series.samples[0].is_stale_marker() && series.labels.get("path") == Some(honest)
        });
        (values.count(), ledger.series(), ledger.surplus())
    };
    assert_eq!(with_flood(0, 0), (1, 1, 0));
    assert_eq!(with_flood(1, 101), (1, 100, 2));
    for round in 2..6 {
        assert_eq!(with_flood(round, 100), (1, 1, 100));
    }
}

#[test]
fn targets_beyond_the_maximum_are_left_out_and_silent_ones_make_room() {
    let (signal, mut ledger) = (signal("{{path}}"), bounded(100, 1_000, 3_600_000));
    let mut publish = |number: i64, names: std::ops::Range<usize>| {
        let targets = names.map(|name| {
            let series = vec![(Labels::new([("path", name.to_string())]), 1.0)];
            let spoken = TargetSeries {
                coverage: coverage(1, 1, 0),
                series,
                ..TargetSeries::default()
            };
            (Target::new("", "Pod", &format!("{name:06}")), spoken)
        });
        let answer = Answer {
            targets: targets.collect(),
            ..Answer::default()
        };
        ledger.publish(&signal, round(number, 0), answer);
        (ledger.targets(), ledger.series(), ledger.surplus())
    };
    let many = 100;
    assert_eq!(publish(0, 0..many + 2), (many, many, 2));
    // No target is silent yet when the next answer comes, and one is the round after.
    assert_eq!(publish(1, 1..many + 1), (many, many - 1, 1));
    assert_eq!(publish(2, 1..many + 1), (many, many, 0));
}

#[test]
fn a_source_that_always_fails_keeps_no_series_open_for_ever() {
    let (signal, mut ledger) = (signal("web"), bounded(10, 1_000, 60_000));
    for number in 0..100 {
        let path = format!("/{number}");
        let answer = answer("web", &[(&path, 1.0)], coverage(2, 1, 1));
        ledger.publish(&signal, round(number, 0), answer);
        assert!(ledger.series() <= 6, "{}", ledger.series());
    }
}

#[test]
fn a_series_with_labels_that_can_t_be_used_costs_itself_only_and_is_described() {
    let long = "x".repeat(anomalyzer_domain::MAX_LABEL_VALUE_BYTES + 1);
    for wrong in ["/\u{202e}a", "/\n", "\u{200b}", "\u{1b}[2J", &long] {
        let (signal, mut ledger) = (signal("p"), builder(10));
        let values = [("/a", 1.0), (wrong, 2.0), ("/b", 3.0)];
        let both = coverage(1, 1, 0);
        let batches = ledger.publish(&signal, 1.into(), answer("p", &values, both));
        assert_eq!(shown(&batches[0]), ["/a 1", "/b 3"], "{wrong:?}");
        let (count, first) = ledger.refused().unwrap();
        assert_eq!(count, 1);
        assert!(first.contains("`path`") && first.len() < 500, "{first}");
        assert!(!first.contains(anomalyzer_domain::is_hidden), "{first:?}");
        ledger.publish(&signal, 2.into(), answer("p", &[("/a", 1.0)], both));
        assert_eq!(ledger.refused(), None);
    }
}
