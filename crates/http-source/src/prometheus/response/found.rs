//! Series in the result of a query.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::value::{Point, Value};
use crate::SourceError;
use anomalyzer_domain::{Labels, Sample, Series, UnixMs};

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
    /// The series, with their samples.
    pub series: Vec<Series>,
    /// Number of native histograms, which are left out.
    pub histograms: usize,
    /// Number of series or points without a value, which are left out.
    pub nulls: usize,
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
