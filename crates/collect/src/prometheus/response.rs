//! Parses the answers of Prometheus's HTTP API.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use anomalyzer_domain::{Labels, Sample, Series, UnixMs};

use crate::error::excerpt;
use crate::{SourceError, fetch};

#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

/// The data of an answer, and Prometheus's warnings about it.
pub struct Answered {
    pub data: Data,
    pub warnings: Vec<String>,
}

/// Result of a query.
#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub enum Data {
    /// Series with one sample each.
    Vector(Vec<Instant>),
    /// A number.
    Scalar(Point),
    /// Series with all their samples.
    Matrix(Vec<Range>),
    /// A text.
    String(IgnoredAny),
}

/// Unix time in seconds, and the value as text.
type Point = (f64, String);

/// A series at one time. Either `value` or `histogram` is set.
#[derive(Debug, Deserialize)]
pub struct Instant {
    metric: BTreeMap<String, String>,
    value: Option<Point>,
    histogram: Option<IgnoredAny>,
}

/// A series over a range of time.
#[derive(Debug, Deserialize)]
pub struct Range {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<Point>,
    histograms: Option<IgnoredAny>,
}

/// Parses an answer. Returns a different error for each kind of unusable answer.
pub fn read(url: &str, promql: &str, answer: &fetch::Answer) -> Result<Answered, SourceError> {
    let fetch::Answer {
        status, html, body, ..
    } = answer;
    let (url, status) = (url.to_owned(), *status);
    let begins = || excerpt(body);
    let envelope = match serde_json::from_slice::<Envelope>(body) {
        Ok(envelope) => envelope,
        Err(_) if status != 200 => {
            return Err(SourceError::Status {
                url,
                status,
                excerpt: begins(),
            });
        }
        Err(_) if *html => {
            return Err(SourceError::Unexpected {
                url,
                expected: "Prometheus",
                excerpt: begins(),
            });
        }
        Err(error) if error.is_eof() => {
            return Err(SourceError::CutShort {
                url,
                reason: error.to_string(),
            });
        }
        Err(error) if error.is_data() && !body.starts_with(br#"{"status":"#) => {
            return Err(SourceError::Unexpected {
                url,
                expected: "Prometheus",
                excerpt: begins(),
            });
        }
        Err(error) => {
            return Err(SourceError::Malformed {
                url,
                reason: error.to_string(),
            });
        }
    };
    let (query, reason) = (
        promql.to_owned(),
        envelope
            .error
            .unwrap_or_else(|| "no reason given".to_owned()),
    );
    match (
        envelope.status.as_str(),
        envelope.error_type.as_deref(),
        envelope.data,
    ) {
        ("success", _, Some(data)) if status == 200 => Ok(Answered {
            data,
            warnings: envelope.warnings,
        }),
        ("error", Some("bad_data"), _) => Err(SourceError::Refused { query, reason }),
        ("error", Some(_), _) => Err(SourceError::Failed { query, reason }),
        _ if status != 200 => Err(SourceError::Status {
            url,
            status,
            excerpt: begins(),
        }),
        _ => Err(SourceError::Unexpected {
            url,
            expected: "Prometheus",
            excerpt: begins(),
        }),
    }
}

impl Data {
    /// Returns the series of an instant query. Each sample gets the time `at`, because Prometheus
    /// stamps the values with the time of the query.
    pub fn into_series(self, promql: &str, at: UnixMs) -> Result<Vec<Series>, SourceError> {
        let series = |metric: BTreeMap<String, String>, (_, value): &Point| {
            Ok(Series {
                labels: metric.into(),
                samples: vec![Sample {
                    at,
                    value: number(promql, value)?,
                }],
            })
        };
        match self {
            Self::Vector(vector) => vector
                .into_iter()
                .map(
                    |Instant {
                         metric,
                         value,
                         histogram,
                     }| match (value, histogram) {
                        (Some(point), _) => series(metric, &point),
                        (None, Some(_)) => Err(native_histogram(promql)),
                        (None, None) => Err(wrong(promql, "answers a series without a value")),
                    },
                )
                .collect(),
            Self::Scalar(point) => Ok(vec![series(BTreeMap::new(), &point)?]),
            Self::Matrix(_) => Err(wrong(
                promql,
                "answers a range: take what it is at one time, as in rate(…[5m]), or drop the brackets",
            )),
            Self::String(_) => Err(wrong(promql, "answers a text: a signal needs numbers")),
        }
    }

    /// Returns the series of a range query.
    pub fn into_matrix(self, promql: &str) -> Result<Vec<Series>, SourceError> {
        let Self::Matrix(matrix) = self else {
            return Err(wrong(
                promql,
                "was answered with something else than a range",
            ));
        };
        let series = |Range {
                          metric,
                          values,
                          histograms,
                      }: Range| {
            if values.is_empty() && histograms.is_some() {
                return Err(native_histogram(promql));
            }
            let sample = |(at, value): Point| {
                Ok(Sample {
                    at: (at * 1000.0).round() as UnixMs,
                    value: number(promql, &value)?,
                })
            };
            let samples = values.into_iter().map(sample).collect::<Result<_, _>>()?;
            Ok(Series {
                labels: Labels::from(metric),
                samples,
            })
        };
        matrix.into_iter().map(series).collect()
    }
}

fn wrong(promql: &str, reason: &str) -> SourceError {
    SourceError::WrongShape {
        query: promql.to_owned(),
        reason: reason.to_owned(),
    }
}

fn native_histogram(promql: &str) -> SourceError {
    wrong(
        promql,
        "answers native histograms: ask for histogram_quantile(…) of them",
    )
}

/// Parses a value. `NaN`, `+Inf` and `-Inf` are valid numbers.
fn number(promql: &str, text: &str) -> Result<f64, SourceError> {
    text.parse().map_err(|_| {
        wrong(
            promql,
            &format!("was answered with `{text}`, which is not a number"),
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &str) -> Result<Answered, SourceError> {
        let html = body.starts_with('<');
        read(
            "http://p/api/v1/query",
            "q",
            &fetch::Answer {
                status,
                html,
                body: body.into(),
                ..fetch::Answer::default()
            },
        )
    }

    fn series(result: &str) -> Result<Vec<Series>, SourceError> {
        let body = format!(r#"{{"status":"success","data":{result}}}"#);
        answer(200, &body)?.data.into_series("q", 7)
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
                r#"{"resultType":"matrix","result":[]}"#,
                "drop the brackets",
            ),
            (
                r#"{"resultType":"string","result":[1,"x"]}"#,
                "needs numbers",
            ),
            (
                r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}"#,
                "histogram_quantile",
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
            (200, r#"{"status":"success"}}"#, "malformed"),
        ] {
            let error = answer(status, body)
                .map(|answered| answered.data)
                .unwrap_err();
            assert_eq!(error.kind(), kind, "{body}: {error}");
        }
    }

    #[test]
    fn warnings_are_kept() {
        let body = r#"{"status":"success","warnings":["half"],"data":{"resultType":"scalar","result":[1,"2"]}}"#;
        assert_eq!(
            answer(200, body).map(|answered| answered.warnings).unwrap(),
            ["half"]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(status in 100u16..600, body in ".{0,200}") {
            let _ = answer(status, &body).map(|answered| answered.data.into_series("q", 0));
        }
    }
}
