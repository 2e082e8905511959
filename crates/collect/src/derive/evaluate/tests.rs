use super::*;
use crate::SourceError;
use crate::exposition::{self, Format};
use anomalyzer_domain::Labels;

/// Test world of sources `a`, `b`, … that are scraped every second.
struct World {
    signal: SignalConfig,
    store: Store,
    memory: Memory,
    now: i64,
}

fn key(name: &str) -> SourceKey {
    SourceKey {
        job: "web".to_owned(),
        url: name.to_owned(),
    }
}

impl World {
    fn new(source: &str, target: &str, sources: &[&str]) -> Self {
        let text = format!("name = 's'\nsource = {source}\ntarget = {target}");
        let signal: SignalConfig = toml::from_str(&text).unwrap();
        let store = Store::new([&signal]);
        let mut world = Self {
            signal,
            store,
            memory: Memory::default(),
            now: 0,
        };
        world.watch(sources);
        world
    }

    fn watch(&mut self, sources: &[&str]) {
        let labels = |name: &str| Labels::new([("job", "web"), ("replica", name)]);
        self.store.watch(
            sources
                .iter()
                .map(|name| (key(name), labels(name)))
                .collect(),
        );
    }

    /// Advances the time by one second. Each source answers with a text, or fails.
    fn round(&mut self, answers: &[(&str, Option<&str>)]) -> Answer {
        self.now += 1000;
        for (name, text) in answers {
            match text {
                Some(text) => {
                    let wanted = |name: &str| self.store.wants(name);
                    let found = exposition::parse(text.as_bytes(), Format::Text, wanted).unwrap();
                    self.store.answered(&key(name), found, self.now.into());
                }
                None => self
                    .store
                    .failed(&key(name), SourceError::Unsupported(String::new())),
            }
        }
        evaluate(&self.signal, &self.store, &mut self.memory, self.now.into())
    }
}

const WEB: &str = "{ kind = 'Process', name = 'web' }";

fn web() -> Target {
    Target::new("", "Process", "web")
}

fn coverage(asked: u32, answered: u32, failed: u32) -> Coverage {
    Coverage {
        asked,
        answered,
        failed,
    }
}

/// Returns the only value of the only target, and the coverage of the target.
fn outcome(answer: &Answer) -> (Option<f64>, Coverage) {
    let spoken = answer.targets.get(&web());
    let series = spoken.map_or(&[][..], |spoken| &spoken.series);
    assert!(series.len() <= 1, "{series:?}");
    (
        series.first().map(|(_, value)| *value),
        spoken.map_or(answer.otherwise, |spoken| spoken.coverage),
    )
}

#[test]
fn a_gauge_of_replicas_is_aggregated_as_asked() {
    for (aggregate, value) in [("sum", 6.0), ("max", 4.0), ("min", 2.0), ("avg", 3.0)] {
        let source = format!("{{ gauge = {{ of = 'm', aggregate = '{aggregate}' }} }}");
        let answer = World::new(&source, WEB, &["a", "b"])
            .round(&[("a", Some("m 2\n")), ("b", Some("m 4\n"))]);
        assert_eq!(outcome(&answer), (Some(value), coverage(2, 2, 0)));
    }
}

#[test]
fn a_sum_with_a_part_missing_has_no_value_and_a_maximum_has() {
    let round = [("a", Some("m 2\n")), ("b", None)];
    let sum = World::new("{ gauge = { of = 'm' } }", WEB, &["a", "b"]).round(&round);
    assert_eq!(outcome(&sum), (None, coverage(2, 1, 1)));
    let max = World::new(
        "{ gauge = { of = 'm', aggregate = 'max' } }",
        WEB,
        &["a", "b"],
    )
    .round(&round);
    assert_eq!(outcome(&max), (Some(2.0), coverage(2, 1, 1)));
}

#[test]
fn a_source_without_the_metric_has_nothing_to_say_and_has_not_failed() {
    let mut world = World::new("{ gauge = { of = 'm' } }", WEB, &["a", "b"]);
    assert_eq!(
        outcome(&world.round(&[("a", Some("m 2\n")), ("b", Some("other 4\n"))])),
        (Some(2.0), coverage(2, 1, 0))
    );
    assert_eq!(
        outcome(&world.round(&[("a", Some("")), ("b", Some(""))])),
        (None, coverage(2, 0, 0))
    );
    assert_eq!(
        outcome(&world.round(&[("a", None), ("b", None)])),
        (None, coverage(2, 0, 2))
    );
}

#[test]
fn a_nan_is_passed_on_as_nan() {
    for aggregate in ["sum", "max", "min", "avg"] {
        let source = format!("{{ gauge = {{ of = 'm', aggregate = '{aggregate}' }} }}");
        let answer = World::new(&source, WEB, &["a", "b"])
            .round(&[("a", Some("m NaN\n")), ("b", Some("m 4\n"))]);
        assert!(outcome(&answer).0.unwrap().is_nan(), "{aggregate}");
    }
}

#[test]
fn a_gauge_whose_own_time_stands_still_is_believed_for_five_minutes() {
    let mut world = World::new("{ gauge = { of = 'm' } }", WEB, &["a"]);
    for _ in 0..300 {
        assert_eq!(
            outcome(&world.round(&[("a", Some("m 2 1000\n"))])).0,
            Some(2.0)
        );
    }
    assert_eq!(
        outcome(&world.round(&[("a", Some("m 2 1000\n"))])),
        (None, coverage(1, 0, 0))
    );
}

#[test]
fn a_rate_is_summed_over_replicas_and_survives_a_restart_of_one() {
    let mut world = World::new("{ rate = { of = 'c', window = '10s' } }", WEB, &["a", "b"]);
    let both = |world: &mut World, a: u32, b: u32| {
        let [a, b] = [a, b].map(|count| format!("c {count}\n"));
        outcome(&world.round(&[("a", Some(&a)), ("b", Some(&b))]))
    };
    assert_eq!(both(&mut world, 20, 0), (None, coverage(2, 0, 0)));
    assert_eq!(both(&mut world, 25, 3), (Some(8.0), coverage(2, 2, 0)));
    // `a` restarts: it grew by 5 and 9 in two seconds. The counter of `b` grew by 3 and 3.
    assert_eq!(both(&mut world, 9, 6), (Some(7.0 + 3.0), coverage(2, 2, 0)));
}

#[test]
fn a_start_time_that_moves_is_no_reset() {
    // Each start time of the process follows from the round.
    let moves: [fn(i64) -> f64; 4] = [
        |round| 1.7e9 + if round > 3 { 37.2 } else { 0.0 },
        |round| 1.7e9 + 3.0 * round as f64,
        |round| round as f64,
        |round| if round % 2 == 0 { 0.0 } else { f64::NAN },
    ];
    for start in moves {
        let mut world = World::new("{ rate = { of = 'c', window = '10s' } }", WEB, &["a"]);
        for round in 0..8 {
            let text = format!(
                "process_start_time_seconds {}\nc {}\n",
                start(round),
                1_000_000 + 10 * round
            );
            let rate = outcome(&world.round(&[("a", Some(&text))])).0;
            assert_eq!(rate, (round > 0).then_some(10.0));
        }
    }
}

#[test]
fn samples_of_the_future_are_dropped_and_counted_and_do_not_end_their_series() {
    let mut world = World::new("{ gauge = { of = 'm' } }", WEB, &["a", "b"]);
    let ahead = "m 5 7200000\n";
    let answer = world.round(&[("a", Some(ahead)), ("b", Some("m 1\n"))]);
    assert_eq!((answer.intake.kept, answer.intake.future), (1, 1));
    // The part of `a` is missing in the sum, and does not count as zero.
    assert_eq!(outcome(&answer), (None, coverage(2, 1, 0)));
    assert_eq!(answer.targets[&web()].withheld, [Labels::default()].into());
    let right = format!("m 50 {}\n", world.now + 1000);
    let answer = world.round(&[("a", Some(&right)), ("b", Some("m 1\n"))]);
    assert_eq!(outcome(&answer), (Some(51.0), coverage(2, 2, 0)));
    assert_eq!(answer.intake.dropped(), 0);
}

#[test]
fn a_new_replica_is_no_dip_of_the_sum_before_its_first_rate() {
    let mut world = World::new("{ rate = { of = 'c', window = '10s' } }", WEB, &["a"]);
    world.round(&[("a", Some("c 0\n"))]);
    assert_eq!(outcome(&world.round(&[("a", Some("c 9\n"))])).0, Some(9.0));
    // Half of the traffic goes to the new replica, which has not counted long enough to have a
    // rate.
    world.watch(&["a", "b"]);
    let first = world.round(&[("a", Some("c 14\n")), ("b", Some("c 5\n"))]);
    assert_eq!(outcome(&first), (None, coverage(2, 1, 0)));
    assert_eq!(first.targets[&web()].withheld, [Labels::default()].into());
    let both = outcome(&world.round(&[("a", Some("c 18\n")), ("b", Some("c 10\n"))]));
    assert_eq!(both, (Some(6.0 + 5.0), coverage(2, 2, 0)));
    // A source that exposes the metric only once it has counted something is no part of the sum
    // until then.
    world.watch(&["a", "b", "c"]);
    let all = [
        ("a", Some("c 24\n")),
        ("b", Some("c 15\n")),
        ("c", Some("")),
    ];
    assert_eq!(
        outcome(&world.round(&all)),
        (Some(6.0 + 5.0), coverage(3, 2, 0))
    );
}

#[test]
fn another_counter_of_a_replica_that_is_heard_is_no_gap() {
    let mut world = World::new("{ rate = { of = 'c', window = '10s' } }", WEB, &["a"]);
    world.round(&[("a", Some("c{path=\"/a\"} 0\n"))]);
    let answer = world.round(&[("a", Some("c{path=\"/a\"} 4\nc{path=\"/b\"} 1\n"))]);
    assert_eq!(outcome(&answer), (Some(4.0), coverage(1, 1, 0)));
}

#[test]
fn a_gauge_that_is_too_old_is_missing_in_the_sum() {
    let mut world = World::new("{ gauge = { of = 'm' } }", WEB, &["a", "b"]);
    let mut both = || outcome(&world.round(&[("a", Some("m 2\n")), ("b", Some("m 3 1000\n"))]));
    for _ in 0..300 {
        assert_eq!(both().0, Some(5.0));
    }
    assert_eq!(both(), (None, coverage(2, 1, 0)));
}

#[test]
fn a_source_that_fails_and_comes_back_has_its_window_again() {
    let mut world = World::new("{ rate = { of = 'c', window = '10s' } }", WEB, &["a"]);
    world.round(&[("a", Some("c 0\n"))]);
    assert_eq!(
        outcome(&world.round(&[("a", None)])),
        (None, coverage(1, 0, 1))
    );
    assert_eq!(
        outcome(&world.round(&[("a", Some("c 8\n"))])),
        (Some(4.0), coverage(1, 1, 0))
    );
}

#[test]
fn a_ratio_without_traffic_has_no_value() {
    let source = "{ ratio = { of = 'errors', over = 'requests', window = '10s' } }";
    let mut world = World::new(source, WEB, &["a"]);
    world.round(&[("a", Some("errors 0\nrequests 0\n"))]);
    assert_eq!(
        outcome(&world.round(&[("a", Some("errors 0\nrequests 0\n"))])),
        (None, coverage(1, 1, 0))
    );
    assert_eq!(
        outcome(&world.round(&[("a", Some("errors 1\nrequests 4\n"))])).0,
        Some(0.25)
    );
    // The source exposes no error counter, which does not mean that there were no errors.
    assert_eq!(
        outcome(&world.round(&[("a", Some("requests 4\n"))])),
        (None, coverage(1, 0, 0))
    );
}

#[test]
fn a_quantile_is_over_the_increases_of_all_replicas_and_paths() {
    let source = r#"{ quantile = { of = 'd{status="200"}', q = 0.5, window = '10s' } }"#;
    let mut world = World::new(source, WEB, &["a", "b"]);
    let histogram = |path: &str, counts: [u32; 3]| {
        let line = |le: &str, count| {
            format!("d_bucket{{path=\"{path}\",status=\"200\",le=\"{le}\"}} {count}\n")
        };
        let failed = "d_bucket{status=\"500\",le=\"9\"} 1000\n".to_owned();
        failed + &line("1", counts[0]) + &line("2", counts[1]) + &line("+Inf", counts[2])
    };
    let text = histogram("/a", [100, 100, 100]) + &histogram("/b", [0, 0, 0]);
    world.round(&[("a", Some(&text)), ("b", Some(&text))]);
    // In the window, one replica has 2 observations up to 1 and 2 more up to 2. The other
    // replica has 4 up to 2.
    let first = histogram("/a", [102, 104, 104]) + &histogram("/b", [0, 0, 0]);
    let second = histogram("/a", [100, 100, 100]) + &histogram("/b", [0, 4, 4]);
    let answer = world.round(&[("a", Some(&first)), ("b", Some(&second))]);
    assert_eq!(outcome(&answer), (Some(1.0 + 2.0 / 6.0), coverage(2, 2, 0)));
}

#[test]
fn labels_that_are_kept_make_a_series_each() {
    let mut world = World::new(
        "{ gauge = { of = 'm', by = ['replica'] } }",
        WEB,
        &["a", "b"],
    );
    let answer = world.round(&[
        ("a", Some("m 2\n")),
        ("b", Some("m{x=\"1\"} 1\nm{x=\"2\"} 3\n")),
    ]);
    let series = [
        (Labels::new([("replica", "a")]), 2.0),
        (Labels::new([("replica", "b")]), 4.0),
    ];
    assert_eq!(answer.targets[&web()].series, series);
}

#[test]
fn a_failing_source_is_missed_by_the_targets_that_it_spoke_for() {
    let target = "{ kind = 'Process', name = '{{app}}' }";
    let mut world = World::new(
        "{ gauge = { of = 'm', by = ['app'] } }",
        target,
        &["a", "b"],
    );
    let app = |name| Target::new("", "Process", name);
    let answer = world.round(&[
        ("a", Some("m{app=\"x\"} 1\nm 9\n")),
        ("b", Some("m{app=\"y\"} 2\n")),
    ]);
    assert_eq!(answer.unattributed, 1);
    assert_eq!(answer.targets[&app("x")].coverage, coverage(1, 1, 0));
    let answer = world.round(&[("a", None), ("b", Some("m{app=\"y\"} 2\n"))]);
    assert_eq!(
        answer.targets[&app("x")],
        TargetSeries {
            coverage: coverage(1, 0, 1),
            ..TargetSeries::default()
        }
    );
    assert_eq!(answer.targets[&app("y")].coverage, coverage(1, 1, 0));
    world.watch(&["b"]);
    let answer = world.round(&[("b", Some("m{app=\"y\"} 2\n"))]);
    assert!(!answer.targets.contains_key(&app("x")));
}

#[test]
fn a_source_that_the_selector_rules_out_is_not_asked() {
    let mut world = World::new(r#"{ gauge = { of = 'm{replica="a"}' } }"#, WEB, &["a", "b"]);
    let answer = world.round(&[("a", Some("m 2\n")), ("b", None)]);
    assert_eq!(outcome(&answer), (Some(2.0), coverage(1, 1, 0)));
}
#[test]
fn an_exporter_of_new_series_each_scrape_takes_nothing_from_others_and_memory_stays_flat() {
    for source in [
        "{ gauge = { of = 'm', by = ['t'] } }",
        "{ rate = { of = 'm', window = '10s', by = ['t'] } }",
    ] {
        let target = "{ kind = 'Pod', name = '{{t}}' }";
        let mut world = World::new(source, target, &["hostile", "honest"]);
        world.memory = Memory::new(100, Duration::from_secs(3600));
        for round in 0..20 {
            let mut hostile = format!("m{{t=\"old\"}} {round}\n");
            for number in 0..500 {
                hostile += &format!("m{{t=\"{round}-{number}\"}} 1\n");
            }
            let honest = format!("m{{t=\"web\"}} {round}\nm{{t=\"late-{round}\"}} 1\n");
            if round == 0 {
                world.round(&[("hostile", Some("m{t=\"old\"} 0\n")), ("honest", None)]);
            }
            let answer = world.round(&[("hostile", Some(&hostile)), ("honest", Some(&honest))]);
            let series = |name: &str| {
                let spoken = answer.targets.get(&Target::new("", "Pod", name));
                spoken
                    .is_some_and(|spoken| !spoken.series.is_empty() || !spoken.withheld.is_empty())
            };
            assert!(series("web") && series("old"), "{round}");
            assert!(series(&format!("late-{round}")), "{round}");
            assert!(answer.targets.len() <= 200 && world.memory.limit.len() <= 200);
            let (surplus, by) = world.memory.surplus();
            assert!(surplus >= 400, "{surplus}");
            assert_eq!(by, Some(&key("hostile")));
        }
    }
}

#[test]
fn a_histogram_may_have_tens_of_thousands_of_buckets() {
    let mut world = World::new(
        "{ quantile = { of = 'h', q = 0.5, window = '10s' } }",
        WEB,
        &["a"],
    );
    let body = |factor: u32| {
        let mut body = String::new();
        for bound in 0..40_000 {
            body += &format!("h_bucket{{le=\"{bound}\"}} {}\n", bound * factor);
        }
        body + &format!("h_bucket{{le=\"+Inf\"}} {}\n", 40_000 * factor)
    };
    world.round(&[("a", Some(&body(1)))]);
    let answer = world.round(&[("a", Some(&body(2)))]);
    assert_eq!(outcome(&answer), (Some(20_000.0), coverage(1, 1, 0)));
}
