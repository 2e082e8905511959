//! Parses the answers of Prometheus's HTTP API, and of servers that speak it.
//!
//! Lists may be `null`, as Go programs write an empty list. An answer may lack a part: the server
//! says so in a warning, in `isPartial`, or by a `null` in the place of a value. The result is
//! parsed once its type is known, so that no tree of the whole answer is built.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use anomalyzer_domain::{Labels, Sample, Series, UnixMs, excerpt, one_line};

use crate::{SourceError, fetch};

/// Beginning of a warning about the query itself. Any other warning means that the answer lacks a
/// part (thanos-io/thanos#7354).
const ANNOTATION: &str = "PromQL ";
/// Maximum number of warnings that are shown.
const MAX_WARNINGS: usize = 10;
/// Maximum number of characters of a text from the server.
const MAX_TEXT: usize = 400;

#[derive(Deserialize)]
struct Envelope<'a> {
    status: Option<String>,
    /// None if there is no data, and `Some(None)` if the data is null.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<Option<RawData<'a>>>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    warnings: Option<Vec<String>>,
    infos: Option<Vec<String>>,
    /// Mark of VictoriaMetrics.
    #[serde(rename = "isPartial")]
    is_partial: Option<bool>,
}

#[derive(Deserialize)]
struct RawData<'a> {
    #[serde(rename = "resultType")]
    kind: Option<String>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The data of an answer, and the server's remarks about it.
#[derive(Debug)]
pub struct Answered {
    pub data: Data,
    /// Warnings, without effect on the completeness.
    pub notes: Vec<String>,
    /// Reason why the answer lacks a part, if it does.
    pub partial: Option<String>,
}

/// Result of a query.
#[derive(Debug)]
pub enum Data {
    /// Series with one sample each.
    Vector(Vec<Instant>),
    /// A number.
    Scalar(Point),
    /// Series with all their samples.
    Matrix(Vec<Range>),
    /// A text.
    String,
}

/// Series of a query.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    pub series: Vec<Series>,
    /// Number of native histograms, which are left out.
    pub histograms: usize,
    /// Number of series or points without a value, which are left out.
    pub nulls: usize,
}

/// Unix time in seconds, and the value.
pub type Point = (Option<f64>, Value);

/// A value, which Prometheus writes as text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Null,
    /// A text that is not a number.
    Text(String),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl Visitor<'_> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number as text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(match text.parse() {
                    Ok(number) => Value::Number(number),
                    Err(_) => Value::Text(one_line(text, MAX_TEXT)),
                })
            }

            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}

type Metric = BTreeMap<String, Option<String>>;

/// A series at one time. Either `value` or `histogram` is set.
#[derive(Debug, Deserialize)]
pub struct Instant {
    metric: Option<Metric>,
    value: Option<Point>,
    histogram: Option<IgnoredAny>,
}

/// A series over a range of time.
#[derive(Debug, Deserialize)]
pub struct Range {
    metric: Option<Metric>,
    values: Option<Vec<Option<Point>>>,
    histograms: Option<Vec<IgnoredAny>>,
}

/// Parses an answer. Returns a different error for each kind of unusable answer.
pub fn read(url: &str, promql: &str, answer: &fetch::Answer) -> Result<Answered, SourceError> {
    let (body, status) = (&answer.body, answer.status);
    let envelope = match serde_json::from_slice::<Envelope<'_>>(body) {
        Ok(envelope) => envelope,
        Err(error) => return Err(unreadable(url, answer, &error)),
    };
    let reason = [envelope.error, envelope.message]
        .into_iter()
        .flatten()
        .find_map(message);
    let query = || promql.to_owned();
    let error_type = envelope.error_type.as_deref();
    match (envelope.status.as_deref(), error_type, envelope.data) {
        (Some("success"), _, Some(data)) if status == 200 => {
            let data = match data {
                Some(data) => data.parse(),
                None => Ok(Data::Vector(Vec::new())),
            };
            let warnings = texts(envelope.warnings);
            let marked = envelope.is_partial == Some(true);
            let partial = warnings
                .iter()
                .find(|warning| !warning.starts_with(ANNOTATION))
                .cloned()
                .or_else(|| marked.then(|| "it is marked as `isPartial`".to_owned()));
            let mut notes = warnings;
            notes.extend(texts(envelope.infos));
            notes.truncate(MAX_WARNINGS);
            Ok(Answered {
                data: data.map_err(|error| unreadable(url, answer, &error))?,
                notes,
                partial,
            })
        }
        (Some("error"), Some("bad_data"), _) => Err(SourceError::Refused {
            query: query(),
            reason: reason.unwrap_or_else(no_reason),
        }),
        (Some("error"), Some(_), _) => Err(SourceError::Failed {
            query: query(),
            reason: reason.unwrap_or_else(no_reason),
        }),
        _ if status != 200 => Err(SourceError::Status {
            url: url.to_owned(),
            status,
            excerpt: reason.unwrap_or_else(|| excerpt(body)),
        }),
        (Some("error"), None, _) => Err(SourceError::Failed {
            query: query(),
            reason: reason.unwrap_or_else(no_reason),
        }),
        _ => Err(SourceError::Unexpected {
            url: url.to_owned(),
            expected: "Prometheus",
            excerpt: excerpt(body),
        }),
    }
}

fn no_reason() -> String {
    "no reason given".to_owned()
}

/// Returns the error of an answer that can't be parsed.
fn unreadable(url: &str, answer: &fetch::Answer, error: &serde_json::Error) -> SourceError {
    let (url, body) = (url.to_owned(), &answer.body);
    let is_envelope = body.trim_ascii_start().starts_with(br#"{"status":"#);
    if answer.status != 200 {
        let (status, excerpt) = (answer.status, excerpt(body));
        SourceError::Status {
            url,
            status,
            excerpt,
        }
    } else if answer.html || (error.is_data() && !is_envelope) {
        SourceError::Unexpected {
            url,
            expected: "Prometheus",
            excerpt: excerpt(body),
        }
    } else {
        let reason = one_line(&error.to_string(), MAX_TEXT);
        match error.is_eof() {
            true => SourceError::CutShort { url, reason },
            false => SourceError::Malformed { url, reason },
        }
    }
}

/// Returns the text of an error: a text, or an object with a `message`.
fn message(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Object {
        message: String,
    }
    let text = serde_json::from_str::<String>(raw.get())
        .or_else(|_| serde_json::from_str::<Object>(raw.get()).map(|object| object.message));
    let text = one_line(&text.unwrap_or_default(), MAX_TEXT);
    (!text.is_empty()).then_some(text)
}

fn texts(texts: Option<Vec<String>>) -> Vec<String> {
    let texts = texts.unwrap_or_default().into_iter();
    // A warning that makes the answer partial must not be cut off.
    let (annotations, others): (Vec<_>, Vec<_>) =
        texts.partition(|text| text.starts_with(ANNOTATION));
    others
        .iter()
        .chain(&annotations)
        .take(MAX_WARNINGS)
        .map(|text| one_line(text, MAX_TEXT))
        .collect()
}

impl RawData<'_> {
    fn parse(&self) -> Result<Data, serde_json::Error> {
        let Some(result) = self.result.map(RawValue::get) else {
            return Ok(Data::Vector(Vec::new()));
        };
        match self.kind.as_deref() {
            Some("vector") => serde_json::from_str(result).map(Data::Vector),
            Some("matrix") => serde_json::from_str(result).map(Data::Matrix),
            Some("scalar") => serde_json::from_str(result).map(Data::Scalar),
            Some("string") => Ok(Data::String),
            other => {
                // Some servers name no type if there is no series.
                let empty = serde_json::from_str::<[IgnoredAny; 0]>(result);
                let kind = one_line(other.unwrap_or_default(), MAX_TEXT);
                let unknown = format!("the result type `{kind}` is unknown");
                empty
                    .map(|_| Data::Vector(Vec::new()))
                    .map_err(|_| serde::de::Error::custom(unknown))
            }
        }
    }
}

impl Found {
    /// Adds a point to `samples`. `at` is its time, if the point's own time does not count.
    fn add(
        &mut self,
        samples: &mut Vec<Sample>,
        promql: &str,
        point: Option<Point>,
        at: Option<UnixMs>,
    ) -> Result<(), SourceError> {
        let (own, value) = point.unwrap_or((None, Value::Null));
        let own = own.map(|seconds| (seconds * 1000.0).round() as UnixMs);
        match (at.or(own), value) {
            (Some(at), Value::Number(value)) => samples.push(Sample { at, value }),
            (_, Value::Text(text)) => {
                let reason = format!("was answered with `{text}`, which is not a number");
                return Err(wrong(promql, &reason));
            }
            _ => self.nulls += 1,
        }
        Ok(())
    }

    fn push(&mut self, metric: Option<Metric>, samples: Vec<Sample>) {
        if !samples.is_empty() {
            let metric = metric.unwrap_or_default().into_iter();
            let labels = metric.filter_map(|(name, value)| Some((name, value?)));
            self.series.push(Series {
                labels: Labels::new(labels),
                samples,
            });
        }
    }

    fn add_instants(
        &mut self,
        promql: &str,
        vector: Vec<Instant>,
        at: Option<UnixMs>,
    ) -> Result<(), SourceError> {
        for Instant {
            metric,
            value,
            histogram,
        } in vector
        {
            if value.is_none() && histogram.is_some() {
                self.histograms += 1;
                continue;
            }
            let mut samples = Vec::new();
            self.add(&mut samples, promql, value, at)?;
            self.push(metric, samples);
        }
        Ok(())
    }

    fn add_ranges(&mut self, promql: &str, matrix: Vec<Range>) -> Result<(), SourceError> {
        for Range {
            metric,
            values,
            histograms,
        } in matrix
        {
            let values = values.unwrap_or_default();
            let has_histograms = histograms.is_some_and(|histograms| !histograms.is_empty());
            self.histograms += usize::from(values.is_empty() && has_histograms);
            let mut samples = Vec::with_capacity(values.len());
            for point in values {
                self.add(&mut samples, promql, point, None)?;
            }
            self.push(metric, samples);
        }
        Ok(())
    }
}

impl Data {
    /// Returns the series of an instant query. Each sample gets the time `at`, because Prometheus
    /// stamps the values with the time of the query.
    pub fn into_series(self, promql: &str, at: UnixMs) -> Result<Found, SourceError> {
        let mut found = Found::default();
        match self {
            Self::Vector(vector) => found.add_instants(promql, vector, Some(at))?,
            Self::Scalar(point) => {
                let mut samples = Vec::new();
                found.add(&mut samples, promql, Some(point), Some(at))?;
                found.push(None, samples);
            }
            Self::Matrix(_) => {
                let reason = "answers a range: take what it is at one time, as in rate(…[5m]), or drop the brackets";
                return Err(wrong(promql, reason));
            }
            Self::String => {
                return Err(wrong(promql, "answers a text: a signal needs numbers"));
            }
        }
        Ok(found)
    }

    /// Returns the series of a range query.
    pub fn into_matrix(self, promql: &str) -> Result<Found, SourceError> {
        let mut found = Found::default();
        match self {
            Self::Matrix(matrix) => found.add_ranges(promql, matrix)?,
            Self::Vector(vector) => found.add_instants(promql, vector, None)?,
            Self::Scalar(point) => {
                let mut samples = Vec::new();
                found.add(&mut samples, promql, Some(point), None)?;
                found.push(None, samples);
            }
            Self::String => {
                let reason = "was answered with something else than a range";
                return Err(wrong(promql, reason));
            }
        }
        Ok(found)
    }
}

fn wrong(promql: &str, reason: &str) -> SourceError {
    SourceError::WrongShape {
        query: promql.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: impl AsRef<[u8]>) -> Result<Answered, SourceError> {
        let body = body.as_ref().to_vec();
        let answer = fetch::Answer {
            status,
            html: body.starts_with(b"<"),
            body,
            ..fetch::Answer::default()
        };
        read("http://p/api/v1/query", "q", &answer)
    }

    fn found(result: &str) -> Result<Found, SourceError> {
        let body = format!(r#"{{"status":"success","data":{result}}}"#);
        answer(200, &body)?.data.into_series("q", 7)
    }

    fn series(result: &str) -> Result<Vec<Series>, SourceError> {
        found(result).map(|found| found.series)
    }

    #[test]
    fn a_vector_and_a_scalar_are_read_with_all_their_numbers() {
        let vector = r#"{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1.5,"NaN"]},
                         {"metric":{},"value":[1.5,"+Inf"]},{"metric":{},"value":[1.5,"-1e3"]}]}"#;
        let read = series(vector).unwrap();
        assert_eq!(read[0].labels, Labels::new([("a", "b")]));
        assert!(read[0].samples[0].value.is_nan() && !read[0].samples[0].is_stale_marker());
        assert_eq!(
            read[1].samples,
            [Sample {
                at: 7,
                value: f64::INFINITY
            }]
        );
        assert_eq!(
            read[2].samples,
            [Sample {
                at: 7,
                value: -1000.0
            }]
        );
        assert_eq!(
            series(r#"{"resultType":"scalar","result":[1,"2"]}"#).unwrap()[0].samples[0].value,
            2.0
        );
        assert_eq!(
            series(r#"{"resultType":"vector","result":[]}"#).unwrap(),
            []
        );
    }

    #[test]
    fn what_is_no_signal_is_refused_with_the_remedy() {
        for (result, says) in [
            (
                r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"]]}]}"#,
                "drop the brackets",
            ),
            (
                r#"{"resultType":"string","result":[1,"x"]}"#,
                "needs numbers",
            ),
            (
                r#"{"resultType":"scalar","result":[1,"x"]}"#,
                "`x`, which is not a number",
            ),
        ] {
            let error = series(result).unwrap_err();
            assert_eq!(error.kind(), "wrong_shape");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn every_way_to_answer_nothing_useful_is_told_apart() {
        let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        let failed = r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#;
        for (status, body, kind) in [
            (400, refused, "refused"),
            (503, failed, "failed"),
            (500, "<html>oops", "status"),
            (502, "", "status"),
            (200, "<!doctype html><title>Log in", "unexpected"),
            (200, r#"{"hello": 1}"#, "unexpected"),
            (200, "[]", "unexpected"),
            (200, "", "cut_short"),
            (
                200,
                r#"{"status":"success","data":{"resultType":"vec"#,
                "cut_short",
            ),
            (
                200,
                r#"{"status":"success","data":{"resultType":"scalar","result":7}}"#,
                "malformed",
            ),
            (
                200,
                r#"{"status":"success","data":{"resultType":"table","result":[7]}}"#,
                "malformed",
            ),
            (200, r#"{"status":"error","error":"no"}"#, "failed"),
            (200, r#"{"status":"success"}"#, "unexpected"),
            (403, r#"{"message":"no token"}"#, "status"),
            (200, r#"{"status":"success"}}"#, "malformed"),
        ] {
            let error = answer(status, body)
                .map(|answered| answered.data)
                .unwrap_err();
            assert_eq!(error.kind(), kind, "{body}: {error}");
        }
    }

    #[test]
    fn null_is_an_empty_list_a_missing_label_or_a_missing_value() {
        for (result, series, nulls) in [
            ("null", 0, 0),
            (r#"{"resultType":"vector","result":null}"#, 0, 0),
            (r#"{"result":null}"#, 0, 0),
            (r#"{"resultType":"","result":[]}"#, 0, 0),
            (r#"{"resultType":null,"result":null}"#, 0, 0),
            (r#"{"resultType":"matrix","result":null}"#, 0, 0),
            (
                r#"{"result":[{"value":[1,"2"]}],"resultType":"vector"}"#,
                1,
                0,
            ),
            (
                r#"{"resultType":"vector","result":[{"metric":null,"value":[1,"2"]}]}"#,
                1,
                0,
            ),
            (
                r#"{"resultType":"vector","result":[{"metric":{"a":null},"value":[null,2.5]}]}"#,
                1,
                0,
            ),
            (
                r#"{"resultType":"vector","result":[{"metric":{},"value":[1,null]}]}"#,
                0,
                1,
            ),
            (
                r#"{"resultType":"vector","result":[{"metric":{},"value":null},{"value":[1,"2"]}]}"#,
                1,
                1,
            ),
            (r#"{"resultType":"scalar","result":[1,null]}"#, 0, 1),
        ] {
            let found = found(result).unwrap();
            assert_eq!(
                (found.series.len(), found.nulls),
                (series, nulls),
                "{result}"
            );
        }
        for (result, samples, nulls) in [
            (r#"{"resultType":"matrix","result":null}"#, 0, 0),
            (
                r#"{"resultType":"matrix","result":[{"metric":{},"values":null}]}"#,
                0,
                0,
            ),
            (
                r#"{"resultType":"matrix","result":[{"values":[[1,"2"],null,[2,null],[3,"NaN"]],"histograms":null}]}"#,
                2,
                2,
            ),
            (r#"{"resultType":"scalar","result":[1,"2"]}"#, 1, 0),
            (
                r#"{"resultType":"vector","result":[{"value":[1,"2"]}]}"#,
                1,
                0,
            ),
        ] {
            let body = format!(
                r#"{{"status":"success","warnings":null,"infos":null,"isPartial":null,"data":{result}}}"#
            );
            let answered = answer(200, &body).unwrap();
            assert_eq!((&answered.partial, answered.notes.len()), (&None, 0));
            let found = answered.data.into_matrix("q").unwrap();
            let count: usize = found.series.iter().map(|series| series.samples.len()).sum();
            assert_eq!((count, found.nulls), (samples, nulls), "{result}");
        }
    }

    #[test]
    fn native_histograms_are_left_out_and_counted() {
        let histogram = r#"[1,{"count":"6","sum":"3.2","buckets":[[0,"0.5","1","6"]]}]"#;
        let vector = format!(
            r#"{{"resultType":"vector","result":[{{"metric":{{}},"histogram":{histogram}}},{{"metric":{{"a":"b"}},"value":[1,"2"]}}]}}"#
        );
        let found = found(&vector).unwrap();
        assert_eq!((found.series.len(), found.histograms), (1, 1));
        let matrix = format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"histograms":[{histogram}]}}]}}}}"#
        );
        let found = answer(200, &matrix).unwrap().data.into_matrix("q").unwrap();
        assert_eq!((found.series.len(), found.histograms), (0, 1));
    }

    #[test]
    fn a_warning_that_is_no_annotation_makes_the_answer_partial() {
        let annotation = r#""PromQL warning: bucket label \"le\" is missing""#;
        let info = r#""PromQL info: metric might not be a counter""#;
        let mut many = vec![annotation; 50];
        many.push(r#""store is away""#);
        let many = format!(r#""warnings":[{}]"#, many.join(","));
        for (extra, partial) in [
            (r#""infos":[]"#.to_owned(), false),
            (format!(r#""warnings":[{annotation}]"#), false),
            (format!(r#""infos":[{info}]"#), false),
            (format!(r#""warnings":[{info}]"#), false),
            (r#""isPartial":false"#.to_owned(), false),
            (r#""isPartial":true"#.to_owned(), true),
            (
                r#""warnings":["No StoreAPIs matched for this query"]"#.to_owned(),
                true,
            ),
            (
                r#""warnings":["receive series: rpc error"]"#.to_owned(),
                true,
            ),
            (
                format!(r#""warnings":[{annotation},"store is away"]"#),
                true,
            ),
            (many, true),
        ] {
            let body = format!(
                r#"{{"status":"success",{extra},"data":{{"resultType":"vector","result":[]}}}}"#
            );
            let answered = answer(200, &body).unwrap();
            assert_eq!(answered.partial.is_some(), partial, "{extra}");
            assert!(answered.notes.len() <= MAX_WARNINGS);
        }
    }

    #[test]
    fn the_reason_of_a_server_is_passed_on_in_one_short_line() {
        for (status, body) in [
            (
                400,
                r#"{"status":"error","errorType":"bad_data","error":"the\nreason"}"#,
            ),
            (
                422,
                r#"{"status":"error","errorType":"422","error":"the reason"}"#,
            ),
            (500, r#"{"status":"error","error":"the reason"}"#),
            (403, r#"{"message":"the reason"}"#),
            (403, r#"{"error":{"code":403,"message":"the reason"}}"#),
            (401, "the reason"),
        ] {
            let error = answer(status, body).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("the reason"), "{error}");
        }
        let long = "x".repeat(1_000_000);
        let body = format!(r#"{{"status":"error","errorType":"bad_data","error":"{long}"}}"#);
        let error = answer(400, &body).map(|_| ()).unwrap_err().to_string();
        assert!(error.len() < 1_000, "{}", error.len());
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        for body in [
            deep.clone(),
            format!(r#"{{"status":"success","data":{deep}}}"#),
            format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{deep}}}}}"#),
            format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"histogram":{deep}}}]}}}}"#
            ),
            format!(r#"{{"status":"error","error":{deep}}}"#),
            format!(r#"{{"status":"success","data":null,"trace":{deep}}}"#),
        ] {
            let _ = answer(200, &body).map(|answered| answered.data.into_series("q", 0));
        }
    }

    /// Generates JSON that resembles an answer.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("\"vector\"".to_owned()),
            Just("\"matrix\"".to_owned()),
            Just("\"scalar\"".to_owned()),
            Just("\"NaN\"".to_owned()),
            Just("1e999".to_owned()),
            Just("[]".to_owned()),
            any::<f64>().prop_map(|number| number.to_string()),
            any::<i64>().prop_map(|number| format!("\"{number}\"")),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            let key = prop::sample::select(vec![
                "data",
                "resultType",
                "result",
                "metric",
                "value",
                "values",
                "histogram",
                "histograms",
                "warnings",
                "infos",
                "isPartial",
                "error",
                "a",
            ]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec((key, inner), 0..5).prop_map(|fields| {
                    let fields: Vec<_> = fields
                        .iter()
                        .map(|(name, value)| format!("\"{name}\":{value}"))
                        .collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(status in 100u16..600, body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(status, body).map(|answered| answered.data.into_series("q", 0));
        }

        #[test]
        fn answers_that_nearly_are_of_prometheus_never_panic(
            data in json(), extra in json(), name in "(warnings|infos|error|isPartial|message)", kind in "(vector|matrix|scalar|string)",
        ) {
            for body in [
                format!(r#"{{"status":"success","data":{data},"{name}":{extra}}}"#),
                format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{data}}}}}"#),
                format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":[{data}]}}}}"#),
            ] {
                let _ = answer(200, &body).map(|answered| answered.data.into_series("q", 0));
                let _ = answer(200, &body).map(|answered| answered.data.into_matrix("q"));
            }
        }
    }
}
