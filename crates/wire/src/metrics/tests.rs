use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::timestamp::LATEST;
use anomalyzer_domain::{Labels, Sample, Topic, testing};

/// Accepts every time from 1970 to 9999.
const EVERY: AcceptedTime = AcceptedTime::at(LATEST);

fn json_record(message: &Value) -> Record {
    let content_type = Bytes::from_static(crate::JSON.as_bytes());
    Record {
        key: None,
        headers: vec![(CONTENT_TYPE.to_owned(), content_type)],
        payload: message.to_string().into(),
    }
}

fn delivered(record: Record) -> Delivery {
    testing::delivery(Topic::Metrics, record)
}

fn read(message: &Value) -> Result<MetricBatch, DecodeError> {
    decode(&delivered(json_record(message)), EVERY)
}

fn points(batch: &MetricBatch) -> Vec<(UnixMs, f64)> {
    batch.series[0]
        .samples
        .iter()
        .map(|sample| (sample.at, sample.value))
        .collect()
}

fn any_batch() -> impl Strategy<Value = MetricBatch> {
    let labels = proptest::collection::btree_map("[a-zé]{0,9}", "[ -~ü👍]{0,9}", 0..5)
        .prop_map(Labels::from);
    // NaN is not equal to itself. Another test compares its bits.
    let value = prop_oneof![
        any::<f64>().prop_filter("a number", |v| !v.is_nan()),
        Just(f64::INFINITY)
    ];
    let samples = proptest::collection::vec(
        (0..=LATEST, value).prop_map(|(at, value)| Sample { at, value }),
        0..5,
    );
    let series = (labels, samples).prop_map(|(labels, samples)| Series { labels, samples });
    let target = ("[a-z]{1,5}", "[a-z]{0,5}", "[A-Z][a-z]{1,5}", "[a-z]{1,5}").prop_map(
        |(cluster, namespace, kind, name)| Target {
            cluster,
            namespace,
            kind,
            name,
        },
    );
    let coverage =
        (0..99_u32, 0..99_u32, 0..99_u32).prop_map(|(answered, failed, silent)| Coverage {
            asked: answered + failed + silent,
            answered,
            failed,
        });
    (
        "[^\\p{C}\\p{Z}]{1,20}".prop_filter("visible", |name| check_name(name, 100).is_ok()),
        proptest::option::of(target),
        0..=LATEST,
        coverage,
        proptest::collection::vec(series, 0..5),
        any::<bool>(),
    )
        .prop_map(
            |(signal, target, observed_at, coverage, series, foreign)| MetricBatch {
                signal,
                target,
                observed_at,
                coverage,
                series,
                foreign,
            },
        )
}

proptest! {
    #[test]
    fn a_batch_survives_the_topic(batch in any_batch()) {
        let record = encode(&batch);
        prop_assert!(is_write_request(&record));
        prop_assert_eq!(record.key.clone().unwrap(), batch.target.as_ref().map_or(batch.signal.clone(), Target::key));
        prop_assert_eq!(decode(&delivered(record), EVERY).unwrap(), batch);
    }

    #[test]
    fn arbitrary_messages_do_not_panic(
        payload in proptest::collection::vec(any::<u8>(), 0..100),
        headers in proptest::collection::vec((
            prop_oneof![Just(CONTENT_TYPE), Just(SIGNAL), Just(TARGET), Just(OBSERVED_AT), Just(COVERAGE)],
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..20),
                Just(remote_write::CONTENT_TYPE.into()),
                Just(b"1/1/0".to_vec()),
            ],
        ), 0..6),
    ) {
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let _ = decode(&delivered(Record { key: None, headers, payload: payload.into() }), EVERY);
    }

    #[test]
    fn any_window_is_read_or_refused(
        values in proptest::collection::vec(any::<f64>(), 0..20),
        timestamp in any::<f64>(),
        step in any::<f64>(),
    ) {
        let _ = read(&json!({"name": "m", "values": values, "timestamp": timestamp, "step": step}));
    }
}

proptest! {
    #[test]
    fn whatever_is_read_has_times_that_are_believed(batch in any_batch(), at in any::<i64>(), now in any::<i64>()) {
        let times = |batch: &MetricBatch| {
            let samples = batch.series.iter().flat_map(|series| &series.samples).map(|sample| sample.at);
            samples.chain([batch.observed_at]).collect::<Vec<_>>()
        };
        let json = json!({"name": "m", "values": [1, 2], "timestamp": at});
        for record in [encode(&MetricBatch { observed_at: at, ..batch.clone() }), encode(&batch), json_record(&json)] {
            if let Ok(read) = decode(&delivered(record), AcceptedTime::at(now)) {
                prop_assert!(times(&read).iter().all(|at| AcceptedTime::at(now).check("it", *at).is_ok()));
            }
        }
    }
}

#[test]
fn what_is_from_the_future_is_refused_with_the_remedy() {
    let now = 1_700_000_000_000;
    let error = |record| {
        decode(&delivered(record), AcceptedTime::at(now))
            .unwrap_err()
            .to_string()
    };
    let json = json_record(&json!({"name": "cpu", "value": 1, "timestamp": 1_700_000_301}));
    assert!(error(json).starts_with(
        "the field `timestamp` is at 1700000301000 ms, which is more than five minutes"
    ));
    let batch = |observed_at, at| MetricBatch {
        observed_at,
        ..testing::batch("s", at, 1.0)
    };
    assert!(
        error(encode(&batch(i64::MAX, now)))
            .starts_with("the header `observed-at` is at 9223372036854775807 ms")
    );
    assert!(
        error(encode(&batch(now, now + 300_001))).starts_with("a sample is at 1700000300001 ms")
    );
    assert!(
        decode(
            &delivered(encode(&batch(now, now + 300_000))),
            AcceptedTime::at(now)
        )
        .is_ok()
    );
}

#[test]
fn the_stale_marker_keeps_its_bits() {
    let batch = MetricBatch {
        series: vec![testing::series(vec![Sample::stale_marker(5)])],
        ..testing::batch("s", 5, 1.0)
    };
    assert!(
        decode(&delivered(encode(&batch)), EVERY).unwrap().series[0].samples[0].is_stale_marker()
    );
}

#[test]
fn the_last_value_of_a_window_is_the_newest_and_the_others_are_a_second_apart() {
    let batch =
        read(&json!({"name": "cpu", "values": [1, 2.5, null, "4"], "timestamp": 1_700_000_000}))
            .unwrap();
    let newest = 1_700_000_000_000;
    assert_eq!(
        points(&batch),
        [(newest - 3000, 1.0), (newest - 2000, 2.5), (newest, 4.0)]
    );
    assert_eq!(
        (batch.signal.as_str(), batch.target, batch.observed_at),
        ("cpu", None, newest)
    );
    assert!(batch.foreign && batch.coverage.is_complete());
    assert_eq!(batch.series[0].labels, Labels::new([("__name__", "cpu")]));
}

#[test]
fn a_window_may_tell_its_step() {
    for step in [json!({"step": 15}), json!({"interval": "15s"})] {
        let mut message =
            json!({"name": "cpu", "values": [1, 2], "timestamp": "2023-11-14T22:13:20Z"});
        message
            .as_object_mut()
            .unwrap()
            .extend(step.as_object().unwrap().clone());
        let newest = 1_700_000_000_000;
        assert_eq!(
            points(&read(&message).unwrap()),
            [(newest - 15_000, 1.0), (newest, 2.0)]
        );
    }
}

#[test]
fn a_single_value_keeps_its_labels() {
    let batch = read(&json!({
        "name": "cpu", "value": 93.5, "timestamp": 1_700_000_000_123_i64,
        "labels": {"pod": "web-1", "shard": 3, "target": "default/shop/Deployment/web"}
    }))
    .unwrap();
    assert_eq!(points(&batch), [(1_700_000_000_123, 93.5)]);
    assert_eq!(batch.target, Some(Target::new("shop", "Deployment", "web")));
    assert_eq!(batch.series[0].labels.get("pod"), Some("web-1"));
    assert_eq!(batch.series[0].labels.get("shard"), Some("3"));
}

#[test]
fn no_values_is_no_answer_and_not_zero() {
    for nothing in [
        json!({"values": [null]}),
        json!({"values": []}),
        json!({"value": null}),
    ] {
        let mut message = json!({"name": "cpu", "timestamp": 1_700_000_000});
        message
            .as_object_mut()
            .unwrap()
            .extend(nothing.as_object().unwrap().clone());
        let batch = read(&message).unwrap();
        assert!(batch.coverage.is_silent() && batch.series[0].samples.is_empty());
    }
}

#[test]
fn an_error_tells_what_and_where() {
    let error = |message: Value| read(&message).unwrap_err().to_string();
    assert!(error(json!({"name": "cpu", "value": 1})).contains("missing field `timestamp`"));
    assert!(error(json!({"name": "cpu", "timestamp": 1})).contains("`values` is missing"));
    assert!(
        error(json!({"name": "cpu", "timestamp": 1, "value": "high"}))
            .contains("`value` holds `high`")
    );
    assert!(
        error(json!({"name": "cpu", "timestamp": 1, "value": 1, "target": "web"}))
            .contains("`target` is none")
    );
    let long = format!("default/shop/Deployment/{}", "x".repeat(MOST_NAME_BYTES));
    let long = error(json!({"name": "cpu", "timestamp": 1, "value": 1, "target": long}));
    assert!(
        long.contains("the name of the target has 1024 bytes"),
        "{long}"
    );
    assert!(error(json!([1, 2])).starts_with("not samples as JSON"));
    let mut record = json_record(&json!(null));
    record.payload = Bytes::from_static(b"{\"name\": oops}");
    assert!(
        decode(&delivered(record), EVERY)
            .unwrap_err()
            .to_string()
            .contains("line 1 column 10")
    );
}

#[test]
fn a_name_with_a_hidden_character_is_refused_wherever_it_is() {
    for hidden in ["a\nb", "\u{7}", "we\u{202e}b", "\u{200b}x", "\u{2028}"] {
        let mut messages = vec![json!({"name": hidden}), json!({"labels": {hidden: "x"}})];
        messages.push(json!({"labels": {"pod": hidden}}));
        messages.push(json!({"target": format!("default//Process/{hidden}")}));
        messages.push(json!({"target": {"kind": hidden, "name": "web"}}));
        for part in messages {
            let mut message = json!({"name": "cpu", "value": 1, "timestamp": 1_700_000_000});
            let fields = part.as_object().unwrap().clone();
            message.as_object_mut().unwrap().extend(fields);
            let error = read(&message).unwrap_err().to_string();
            assert!(!error.contains(anomalyzer_domain::is_hidden), "{error:?}");
        }
        let batch = |signal: &str, name: &str| MetricBatch {
            target: Some(Target::new("", "Process", name)),
            ..testing::empty_batch(signal)
        };
        assert!(decode(&delivered(encode(&batch("s", "web"))), EVERY).is_ok());
        for wrong in [batch(hidden, "web"), batch("s", hidden)] {
            let error = decode(&delivered(encode(&wrong)), EVERY).unwrap_err();
            let told = error.to_string();
            assert!(!told.contains(anomalyzer_domain::is_hidden), "{told:?}");
        }
    }
}

#[test]
fn a_write_request_without_coverage_is_refused() {
    let headers = vec![
        (
            CONTENT_TYPE.to_owned(),
            Bytes::from(remote_write::CONTENT_TYPE),
        ),
        (SIGNAL.to_owned(), Bytes::from("s")),
        (OBSERVED_AT.to_owned(), Bytes::from("1")),
    ];
    let mut record = Record {
        key: None,
        headers,
        payload: Bytes::new(),
    };
    assert_eq!(
        decode(&delivered(record.clone()), EVERY)
            .unwrap_err()
            .to_string(),
        "the header `coverage` is missing or not text"
    );
    for wrong in [
        "1/2/0",
        "1",
        "1/1/1",
        "a/b/c",
        "1/1/0/0",
        "4294967295/4294967295/4294967295",
    ] {
        record.headers.truncate(3);
        record
            .headers
            .push((COVERAGE.to_owned(), Bytes::from(wrong)));
        assert!(
            decode(&delivered(record.clone()), EVERY).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn a_pause_of_the_collector_comes_with_its_samples_and_is_bounded() {
    let batch = MetricBatch {
        signal: "s".to_owned(),
        target: None,
        observed_at: 5,
        coverage: Coverage::default(),
        series: vec![],
        foreign: false,
    };
    let paused = |text: &str| {
        let mut record = encode(&batch);
        let value = Bytes::copy_from_slice(text.as_bytes());
        record.headers.push((PAUSED.to_owned(), value));
        let delivery = delivered(record);
        let opened = open(&delivery, AcceptedTime::at(10_000_000));
        opened.map(|(head, _)| head.paused)
    };
    let mut record = encode(&batch);
    add_pause(&mut record, 7, 9);
    assert_eq!(
        open(&delivered(record), EVERY).unwrap().0.paused,
        Some((7, 9))
    );
    assert_eq!(
        open(&delivered(encode(&batch)), EVERY).unwrap().0.paused,
        None
    );
    assert_eq!(paused("0-9000000"), Ok(Some((5_400_000, 9_000_000))));
    for wrong in [
        "",
        "7",
        "9-7",
        "a-b",
        "7-",
        "-7-9",
        "7-99999999999999",
        "1-2-3",
    ] {
        assert!(paused(wrong).is_err(), "{wrong}");
    }
}
