//! Codec for batches of samples on `metrics-topic`.
//!
//! Our format is a `WriteRequest` with the headers `content-type`, `signal`, `target`,
//! `observed-at` (milliseconds since 1970) and `coverage` (`asked/answered/failed`). Samples of
//! another producer have the header `foreign` too. Two JSON formats of other producers are also
//! read. They take the metric's name as the signal and count one source that answered:
//! - a window `{"name", "values": [..], "timestamp"}`: the last value is the newest and was
//!   observed at `timestamp`. The other values are one second apart, or `step` (or `interval`)
//!   apart, in seconds or as `"15s"`;
//! - one value `{"name", "value", "timestamp", "labels"}`.
//!
//! `timestamp` is in seconds, milliseconds or RFC 3339. A value is a number, its text, or null for
//! a missing value. Both formats may have `labels`. They may name a target in the field `target` or
//! in a label of that name (`cluster/namespace/kind/name`).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::shortened;
use super::{AcceptedTime, DecodeError, external, remote_write};
use anomalyzer_domain::{
    Coverage, Delivery, Labels, MetricBatch, Record, Sample, Series, Target, UnixMs, check_name,
};

const CONTENT_TYPE: &str = "content-type";
const SIGNAL: &str = "signal";
const TARGET: &str = "target";
const OBSERVED_AT: &str = "observed-at";
const COVERAGE: &str = "coverage";
const FOREIGN: &str = "foreign";

/// Maximum number of values in one window.
const MOST_VALUES: usize = 100_000;
/// Maximum length of a metric's name in bytes.
const MOST_NAME_BYTES: usize = 1024;

/// Description of a message, without its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Name of the signal.
    pub signal: String,
    /// Target of the samples.
    pub target: Option<Target>,
    /// Time at which the sources were queried.
    pub observed_at: UnixMs,
    /// Coverage of the sources.
    pub coverage: Coverage,
    /// True if the samples came from another producer.
    pub foreign: bool,
}

/// Encodes a batch. Its key is the target, or the signal if there is no target.
pub fn encode(batch: &MetricBatch) -> Record {
    let Coverage {
        asked,
        answered,
        failed,
    } = batch.coverage;
    let target = batch.target.as_ref().map(Target::key);
    let headers = [
        (CONTENT_TYPE, Some(remote_write::CONTENT_TYPE.to_owned())),
        (SIGNAL, Some(batch.signal.clone())),
        (TARGET, target.clone()),
        (OBSERVED_AT, Some(batch.observed_at.to_string())),
        (COVERAGE, Some(format!("{asked}/{answered}/{failed}"))),
        (FOREIGN, batch.foreign.then(|| "true".to_owned())),
    ];
    Record {
        key: Some(target.unwrap_or_else(|| batch.signal.clone())),
        headers: headers
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Bytes::from(value?))))
            .collect(),
        payload: remote_write::encode(&batch.series).into(),
    }
}

/// Samples of a message.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// A `WriteRequest` that is not decoded yet.
    Encoded(remote_write::Walk<'a>),
    /// Decoded samples of another producer's format.
    Read(Vec<Series>),
}

impl Content<'_> {
    /// Returns the time of the oldest sample, of the samples that can be decoded.
    pub fn first_at(&self) -> Option<UnixMs> {
        match self {
            Self::Encoded(series) => series
                .clone()
                .flatten()
                .flat_map(|series| series.samples.flatten())
                .map(|sample| sample.at)
                .min(),
            Self::Read(series) => series
                .iter()
                .flat_map(|series| &series.samples)
                .map(|sample| sample.at)
                .min(),
        }
    }
}

/// Decodes a batch of our format or of another producer's, and checks all times with `believed`.
pub fn decode(delivery: &Delivery, believed: AcceptedTime) -> Result<MetricBatch, DecodeError> {
    let (
        Head {
            signal,
            target,
            observed_at,
            coverage,
            foreign,
        },
        content,
    ) = open(delivery, believed)?;
    let series = match content {
        Content::Encoded(_) => remote_write::decode(&delivery.record.payload, believed)?,
        Content::Read(series) => series,
    };
    Ok(MetricBatch {
        signal,
        target,
        observed_at,
        coverage,
        series,
        foreign,
    })
}

/// Decodes the description of a message. Leaves the samples of our own format encoded.
pub fn open(
    delivery: &Delivery,
    believed: AcceptedTime,
) -> Result<(Head, Content<'_>), DecodeError> {
    let record = &delivery.record;
    DecodeError::unreadable(record)?;
    if is_write_request(record) {
        return Ok((
            head(record, believed)?,
            Content::Encoded(remote_write::walk(&record.payload, believed)),
        ));
    }
    let MetricBatch {
        signal,
        target,
        observed_at,
        coverage,
        series,
        foreign,
    } = decode_json(&record.payload, believed)?;
    Ok((
        Head {
            signal,
            target,
            observed_at,
            coverage,
            foreign,
        },
        Content::Read(series),
    ))
}

/// Returns true if the content type says that the payload is a `WriteRequest`.
fn is_write_request(record: &Record) -> bool {
    let media_type = record
        .header(CONTENT_TYPE)
        .and_then(|full| full.split(';').next());
    media_type.is_some_and(|media_type| {
        media_type
            .trim()
            .eq_ignore_ascii_case("application/x-protobuf")
    })
}

/// Decodes the headers of a message in our format.
fn head(record: &Record, believed: AcceptedTime) -> Result<Head, DecodeError> {
    let signal = required(record, SIGNAL)?.to_owned();
    DecodeError::limit("bytes of a signal's name", signal.len(), MOST_NAME_BYTES)?;
    check_name(&signal, MOST_NAME_BYTES).map_err(wrong(SIGNAL))?;
    let target: Option<Target> = record
        .header(TARGET)
        .map(str::parse)
        .transpose()
        .map_err(wrong(TARGET))?;
    short(target.as_ref())?;
    if let Some(target) = &target {
        target.check().map_err(wrong(TARGET))?;
    }
    let observed_at = required(record, OBSERVED_AT)?
        .parse()
        .map_err(wrong(OBSERVED_AT))?;
    believed.check("the header `observed-at`", observed_at)?;
    let coverage = required(record, COVERAGE)?;
    let coverage = read_coverage(coverage).ok_or_else(|| {
        wrong(COVERAGE)(
            "must be asked/answered/failed, three counts of which the first is the largest",
        )
    })?;
    Ok(Head {
        signal,
        target,
        observed_at,
        coverage,
        foreign: record.header(FOREIGN).is_some(),
    })
}

/// Returns an error if the target is too long. The target becomes a message key, so it must fit
/// everywhere.
fn short(target: Option<&Target>) -> Result<(), DecodeError> {
    let size = target.map_or(0, |target| target.key().len());
    DecodeError::limit("bytes of a target", size, MOST_NAME_BYTES)
}

fn required<'a>(record: &'a Record, name: &'static str) -> Result<&'a str, DecodeError> {
    record.header(name).ok_or_else(|| DecodeError::Header {
        name,
        reason: "is missing or not text".to_owned(),
    })
}

fn wrong<E: fmt::Display>(name: &'static str) -> impl Fn(E) -> DecodeError {
    move |error| DecodeError::Header {
        name,
        reason: shortened(&format!("can't be read: {error}")),
    }
}

fn read_coverage(text: &str) -> Option<Coverage> {
    let mut counts = text.split('/').map(|count| count.parse::<u32>().ok());
    let (asked, answered, failed) = (counts.next()??, counts.next()??, counts.next()??);
    let known = u64::from(answered) + u64::from(failed);
    (counts.next().is_none() && known <= u64::from(asked)).then_some(Coverage {
        asked,
        answered,
        failed,
    })
}

/// JSON message of another producer.
#[derive(Deserialize)]
struct Foreign {
    name: String,
    #[serde(default)]
    values: Option<Vec<Number>>,
    #[serde(default, deserialize_with = "there")]
    value: Option<Number>,
    timestamp: Value,
    #[serde(default)]
    labels: BTreeMap<String, Value>,
    #[serde(default, alias = "interval")]
    step: Option<Value>,
    #[serde(default)]
    target: Option<Value>,
}

/// A number, its text (as in Prometheus's API, where `NaN` and `+Inf` are values), or null.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(f64),
    Text(String),
    Nothing(()),
}

/// Deserializes a field that is present. A null is `Some` too.
fn there<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Number>, D::Error> {
    Number::deserialize(field).map(Some)
}

impl Number {
    fn read(&self, name: &'static str) -> Result<Option<f64>, DecodeError> {
        match self {
            Self::Plain(value) => Ok(Some(*value)),
            Self::Text(text) => match text.trim().parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(DecodeError::field(
                    name,
                    format!("holds `{}`", shortened(text)),
                )),
            },
            Self::Nothing(()) => Ok(None),
        }
    }
}

fn decode_json(payload: &[u8], believed: AcceptedTime) -> Result<MetricBatch, DecodeError> {
    let message: Foreign = serde_json::from_slice(payload).map_err(DecodeError::json("samples"))?;
    DecodeError::limit(
        "bytes of a metric's name",
        message.name.len(),
        MOST_NAME_BYTES,
    )?;
    if message.name.is_empty() {
        return Err(DecodeError::field("name", "is empty"));
    }
    external::name("name", &message.name, MOST_NAME_BYTES)?;
    // The other values of a window are older than this time.
    let observed_at = believed.check(
        "the field `timestamp`",
        external::time("timestamp", &message.timestamp)?,
    )?;
    let samples = match (&message.values, &message.value) {
        (Some(values), None) => window(values, observed_at, message.step.as_ref())?,
        (None, Some(value)) => value
            .read("value")?
            .map(|value| Sample {
                at: observed_at,
                value,
            })
            .into_iter()
            .collect(),
        (None, None) => {
            return Err(DecodeError::field(
                "values",
                "is missing, and so is `value`",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(DecodeError::field(
                "values",
                "and `value` are both there: which one counts?",
            ));
        }
    };
    let labels = labels(&message)?;
    let target = match &message.target {
        Some(target) => Some(external::target(target)?),
        // The label may have another purpose, so text that is not a target is ignored.
        None => labels
            .get(TARGET)
            .and_then(|text| text.parse().ok())
            .filter(|target: &Target| target.check().is_ok()),
    };
    Ok(MetricBatch {
        signal: message.name,
        target,
        observed_at,
        coverage: Coverage {
            asked: 1,
            answered: u32::from(!samples.is_empty()),
            failed: 0,
        },
        series: vec![Series { labels, samples }],
        foreign: true,
    })
}

fn window(
    values: &[Number],
    newest_at: UnixMs,
    step: Option<&Value>,
) -> Result<Vec<Sample>, DecodeError> {
    DecodeError::limit("values in a window", values.len(), MOST_VALUES)?;
    let step = step.map_or(Ok(std::time::Duration::from_secs(1)), external::step)?;
    let step = UnixMs::try_from(step.as_millis()).unwrap_or(UnixMs::MAX);
    let ages = (0..values.len() as UnixMs).rev();
    let samples = values.iter().zip(ages).map(|(value, age)| {
        // Times before 1970 are not accepted, so the time is clamped to 0.
        let at = newest_at.saturating_sub(age.saturating_mul(step)).max(0);
        Ok(value.read("values")?.map(|value| Sample { at, value }))
    });
    samples.filter_map(Result::transpose).collect()
}

fn labels(message: &Foreign) -> Result<Labels, DecodeError> {
    DecodeError::limit("labels", message.labels.len(), remote_write::MOST_LABELS)?;
    let mut pairs = Vec::with_capacity(message.labels.len() + 1);
    for (name, value) in &message.labels {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => {
                return Err(DecodeError::field(
                    "labels",
                    "hold something that is not text",
                ));
            }
        };
        DecodeError::limit(
            "bytes of a label's name",
            name.len(),
            remote_write::MOST_NAME_BYTES,
        )?;
        DecodeError::limit(
            "bytes of a label's value",
            text.len(),
            remote_write::MOST_VALUE_BYTES,
        )?;
        external::name("labels", name, remote_write::MOST_NAME_BYTES)?;
        external::name("labels", &text, remote_write::MOST_VALUE_BYTES)?;
        pairs.push((name.clone(), text));
    }
    pairs.push(("__name__".to_owned(), message.name.clone()));
    Ok(Labels::new(pairs))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::timestamp::LATEST;
    use anomalyzer_domain::Topic;

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
        Delivery {
            topic: Topic::Metrics,
            partition: 0,
            offset: 0,
            published_at: None,
            record,
        }
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
        let labels =
            proptest::collection::btree_map(".{0,9}", ".{0,9}", 0..5).prop_map(Labels::from);
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
            .prop_map(|(signal, target, observed_at, coverage, series, foreign)| {
                MetricBatch {
                    signal,
                    target,
                    observed_at,
                    coverage,
                    series,
                    foreign,
                }
            })
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
            signal: "s".to_owned(),
            target: None,
            observed_at,
            coverage: Coverage::default(),
            series: vec![Series {
                labels: Labels::default(),
                samples: vec![Sample { at, value: 1.0 }],
            }],
            foreign: false,
        };
        assert!(
            error(encode(&batch(i64::MAX, now)))
                .starts_with("the header `observed-at` is at 9223372036854775807 ms")
        );
        assert!(
            error(encode(&batch(now, now + 300_001)))
                .starts_with("a sample is at 1700000300001 ms")
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
        let series = Series {
            labels: Labels::default(),
            samples: vec![Sample::stale_marker(5)],
        };
        let batch = MetricBatch {
            signal: "s".to_owned(),
            target: None,
            observed_at: 5,
            coverage: Coverage {
                asked: 1,
                answered: 1,
                failed: 0,
            },
            series: vec![series],
            foreign: false,
        };
        assert!(
            decode(&delivered(encode(&batch)), EVERY).unwrap().series[0].samples[0]
                .is_stale_marker()
        );
    }

    #[test]
    fn the_last_value_of_a_window_is_the_newest_and_the_others_are_a_second_apart() {
        let batch = read(
            &json!({"name": "cpu", "values": [1, 2.5, null, "4"], "timestamp": 1_700_000_000}),
        )
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
                signal: signal.to_owned(),
                target: Some(Target::new("", "Process", name)),
                observed_at: 5,
                coverage: Coverage::default(),
                series: vec![],
                foreign: false,
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
}
