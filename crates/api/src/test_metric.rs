//! `POST /send-test-metric` and `/metrics-test`: sends a spike, to try the way from a metric to a
//! decision.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::json;

use anomalyzer_domain::Target;
use anomalyzer_history::{Filter, Page};

use super::backend::TestMetric;
use super::extract::JsonOrDefault;

use super::limits::MAX_CONCURRENT_TESTS;
use super::problem::Problem;
use super::state::ApiState;
use super::target;

/// Default name of the test metric.
const METRIC_NAME: &str = "anomalyzer_test_metric";

/// Content type of Prometheus's text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Longest wait for the decision. Ordinary values follow in any case.
const DECISION_TIMEOUT: Duration = Duration::from_secs(600);

/// Number of ordinary values after the spike: more than a detector needs to end its finding.
const ORDINARY_VALUES: usize = 10;

/// Interval of polling the history, and of sending ordinary values.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TestBody {
    name: String,
    /// Value of the spike.
    value: f64,
    /// Level of the values before the spike.
    baseline: f64,
    /// Number of values, the spike included.
    samples: usize,
    #[serde(deserialize_with = "target::either_option")]
    target: Option<Target>,
}

impl Default for TestBody {
    fn default() -> Self {
        Self {
            name: METRIC_NAME.to_owned(),
            value: 1000.0,
            baseline: 100.0,
            samples: 60,
            target: None,
        }
    }
}

impl TestBody {
    /// Refuses senseless values.
    fn check(&self) -> Result<(), Problem> {
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let named = self.name.len() <= 200 && self.name.chars().all(letters);
        if !named || self.name.chars().next().is_none_or(|c| c.is_ascii_digit()) {
            let remedy = "use letters, digits, `_` and `:`, not beginning with a digit";
            return Err(Problem::bad_field(
                "name",
                "it is not the name of a metric",
                remedy,
            ));
        }
        if !(2..=10_000).contains(&self.samples) {
            return Err(Problem::bad_field(
                "samples",
                format!("it is {}", self.samples),
                "use 2 to 10000",
            ));
        }
        // JSON has finite numbers only, but some parsers read 1e999 as infinity.
        if !self.value.is_finite() || !self.baseline.is_finite() {
            return Err(Problem::bad_field(
                "value",
                "it is not finite",
                "use a finite value and baseline",
            ));
        }
        Ok(())
    }

    /// Returns values around the baseline, which differ by a hundredth of the spike's height: a
    /// perfectly level series has no deviation to compare with.
    fn ordinary(&self, values: usize) -> impl Iterator<Item = f64> {
        let (step, baseline) = (
            (self.value / 100.0 - self.baseline / 100.0).abs(),
            self.baseline,
        );
        (0..values).map(move |i| baseline + step * [0.0, 1.0, 0.0, -1.0][i % 4])
    }
}

/// Publishes a window whose last value is a spike, and answers with the address of its decisions.
/// Ordinary values follow after the decision, so that the incident ends.
pub(super) async fn send(
    State(state): State<ApiState>,
    JsonOrDefault(body): JsonOrDefault<TestBody>,
) -> Result<impl IntoResponse, Problem> {
    body.check()?;
    let Ok(permit) = Arc::clone(&state.tests).try_acquire_owned() else {
        return Err(too_many());
    };
    let id = format!("test-{:016x}", fastrand::u64(..));
    let metric = TestMetric {
        id: id.clone(),
        name: body.name.clone(),
        at: (state.clock)(),
        values: body
            .ordinary(body.samples - 1)
            .chain([body.value])
            .collect(),
        target: body.target.clone(),
    };
    state.backend.send_test_metric(metric.clone()).await?;
    state.set_last_test(body.value);
    tokio::spawn(async move {
        let _permit = permit;
        send_ordinary_values(&state, &body, metric).await;
    });
    let follow = format!("/api/v1/decisions?text={id}");
    Ok((
        StatusCode::ACCEPTED,
        axum::Json(json!({"id": id, "follow": follow})),
    ))
}

fn too_many() -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-tests",
        "Too many test metrics are under way",
        format!("{MAX_CONCURRENT_TESTS} test metrics wait for their decision"),
        "wait until one of them is over; /api/v1/incidents shows them",
    )
}

/// Waits for the decision on the spike, then sends ordinary values, one a second.
async fn send_ordinary_values(state: &ApiState, body: &TestBody, spike: TestMetric) {
    tokio::select! {
        _ = tokio::time::timeout(DECISION_TIMEOUT, wait_for_decision(state, &spike.id)) => {}
        () = state.shutdown.cancelled() => return,
    }
    for value in body.ordinary(ORDINARY_VALUES) {
        let ordinary = TestMetric {
            at: (state.clock)(),
            values: vec![value],
            ..spike.clone()
        };
        if let Err(error) = state.backend.send_test_metric(ordinary).await {
            return tracing::warn!(id = spike.id, %error, "cannot send the values after a test metric; its incident stays open");
        }
        state.set_last_test(value);
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = state.shutdown.cancelled() => return,
        }
    }
}

/// Polls the history until a decision with `id` in its text has ended.
async fn wait_for_decision(state: &ApiState, id: &str) {
    let filter = Filter {
        text: Some(id.to_owned()),
        ..Filter::default()
    };
    loop {
        // A failed read is not an error here: the next one may succeed.
        let decisions = state
            .history
            .searches()
            .decisions(&filter, Page::default())
            .await
            .map(|(decisions, _)| decisions);
        if decisions.is_ok_and(|decisions| {
            decisions
                .iter()
                .any(|decision| decision.state().needs_no_work())
        }) {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Answers with the value that was sent last, for a Prometheus to scrape. There is no sample before
/// the first test.
pub(super) async fn scrape(State(state): State<ApiState>) -> impl IntoResponse {
    let mut text = format!(
        "# HELP {METRIC_NAME} What /send-test-metric sent last.\n# TYPE {METRIC_NAME} gauge\n"
    );
    if let Some(value) = *state.last_test.lock() {
        text.push_str(&format!("{METRIC_NAME} {}\n", number(value)));
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text)
}

/// Formats a number for Prometheus.
fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}
