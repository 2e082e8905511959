//! Counters and histogram of the application, in Prometheus's text exposition format.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Upper bounds of the histogram's buckets in seconds. The bucket `+Inf` follows.
const BOUNDS: [f64; 17] = [
    0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0,
    10.0,
];

/// Statuses that are exposed from the start, so that the first error is an increase from 0 and not
/// a new series.
const STATUSES: [u16; 4] = [200, 500, 503, 504];

#[derive(Clone, Debug, Default)]
struct Requests {
    count: u64,
    seconds: f64,
    /// Requests by the smallest bound that holds them. Requests above the last bound are in no
    /// bucket.
    buckets: [u64; BOUNDS.len()],
}

/// Request statistics by path and status.
#[derive(Debug)]
pub struct Metrics(Mutex<BTreeMap<(&'static str, u16), Requests>>);

/// A value that is read when the metrics are rendered.
pub struct Gauge {
    /// Name of the metric.
    pub name: &'static str,
    /// Help text of the metric.
    pub help: &'static str,
    /// Value, or `None` if it is unknown. The metric is then left out.
    pub value: Option<f64>,
}

impl Metrics {
    /// Creates the metrics with these paths at 0.
    pub fn new<const N: usize>(paths: [&'static str; N]) -> Self {
        let pairs = paths
            .into_iter()
            .flat_map(|path| STATUSES.map(|status| (path, status)));
        Self(Mutex::new(
            pairs.map(|pair| (pair, Requests::default())).collect(),
        ))
    }

    /// Counts an answered request.
    pub fn record(&self, path: &'static str, status: u16, took: Duration) {
        let mut all = self.0.lock();
        let requests = all.entry((path, status)).or_default();
        let seconds = took.as_secs_f64();
        requests.count += 1;
        requests.seconds += seconds;
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            requests.buckets[bucket] += 1;
        }
    }

    /// Returns the exposition.
    pub fn render(&self, gauges: &[Gauge]) -> String {
        let all = self.0.lock().clone();
        let mut out = String::new();
        // Writing to a `String` does not fail.
        let _ = write(&mut out, &all, gauges);
        out
    }
}

fn write(
    out: &mut String,
    all: &BTreeMap<(&'static str, u16), Requests>,
    gauges: &[Gauge],
) -> Result<(), std::fmt::Error> {
    out.push_str(
        "# HELP app_requests_total Requests answered.\n# TYPE app_requests_total counter\n",
    );
    for ((path, status), requests) in all {
        writeln!(
            out,
            "app_requests_total{{path=\"{path}\",status=\"{status}\"}} {}",
            requests.count
        )?;
    }
    out.push_str(
        "# HELP app_requests_errors_total Requests answered with an error of the service (5xx).\n",
    );
    out.push_str("# TYPE app_requests_errors_total counter\n");
    for ((path, status), requests) in all.iter().filter(|((_, status), _)| *status >= 500) {
        writeln!(
            out,
            "app_requests_errors_total{{path=\"{path}\",status=\"{status}\"}} {}",
            requests.count
        )?;
    }
    out.push_str(
        "# HELP http_request_duration_seconds Time from arrival to answer, waiting included.\n",
    );
    out.push_str("# TYPE http_request_duration_seconds histogram\n");
    for ((path, status), requests) in all {
        let labels = format!("path=\"{path}\",status=\"{status}\"");
        let mut so_far = 0;
        for (bound, count) in BOUNDS.iter().zip(requests.buckets) {
            so_far += count;
            writeln!(
                out,
                "http_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {so_far}"
            )?;
        }
        writeln!(
            out,
            "http_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {}",
            requests.count
        )?;
        writeln!(
            out,
            "http_request_duration_seconds_sum{{{labels}}} {}",
            requests.seconds
        )?;
        writeln!(
            out,
            "http_request_duration_seconds_count{{{labels}}} {}",
            requests.count
        )?;
    }
    for Gauge { name, help, value } in gauges {
        if let Some(value) = value {
            write!(
                out,
                "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_a_request_above_the_last_bound_is_in_inf_only() {
        let metrics = Metrics::new(["/"]);
        for milliseconds in [5, 6, 11_000] {
            metrics.record("/", 200, Duration::from_millis(milliseconds));
        }
        let text = metrics.render(&[]);
        for line in [
            r#"app_requests_total{path="/",status="200"} 3"#,
            r#"app_requests_errors_total{path="/",status="503"} 0"#,
            r#"http_request_duration_seconds_bucket{path="/",status="200",le="0.005"} 1"#,
            r#"http_request_duration_seconds_bucket{path="/",status="200",le="10"} 2"#,
            r#"http_request_duration_seconds_bucket{path="/",status="200",le="+Inf"} 3"#,
            r#"http_request_duration_seconds_count{path="/",status="200"} 3"#,
        ] {
            assert!(
                text.lines().any(|have| have == line),
                "{line} is missing in\n{text}"
            );
        }
        assert!(!text.contains(r#"errors_total{path="/",status="200"}"#));
    }
}
