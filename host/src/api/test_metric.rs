//! `POST /send-test-metric` and `/metrics-test`: a spike to try the way from a metric to a decision
//! with.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::json;

use crate::domain::Target;
use crate::history::{Filter, Page};

use super::doors::TestMetric;
use super::extract::JsonOrDefault;
use super::fresh::fresh;
use super::{ApiState, Problem, target};

const NAME: &str = "anomalyzer_test_metric";

/// Prometheus's text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How many tests may be under way.
pub(super) const AT_ONCE: usize = 16;

/// How long a decision is waited for, before ordinary values follow all the same.
const PATIENCE: Duration = Duration::from_secs(600);

/// How many ordinary values follow: more than a detector wants to see before it says that all is
/// well.
const CALM: usize = 10;

/// How often something is looked at or sent.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    name: String,
    /// The spike.
    value: f64,
    /// What the values before are about.
    baseline: f64,
    /// How many values, the spike included.
    samples: usize,
    #[serde(deserialize_with = "target::either_option")]
    target: Option<Target>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            name: NAME.to_owned(),
            value: 1000.0,
            baseline: 100.0,
            samples: 60,
            target: None,
        }
    }
}

impl Wanted {
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
        // JSON knows no other numbers, but 1e999 is read as infinity by some.
        if !self.value.is_finite() || !self.baseline.is_finite() {
            return Err(Problem::bad_field(
                "value",
                "it is not finite",
                "use a finite value and baseline",
            ));
        }
        Ok(())
    }

    /// Around the baseline, by a hundredth of the spike's height: what is perfectly level has no
    /// deviation to compare with.
    fn ordinary(&self, values: usize) -> impl Iterator<Item = f64> {
        let (step, baseline) = (
            (self.value / 100.0 - self.baseline / 100.0).abs(),
            self.baseline,
        );
        (0..values).map(move |i| baseline + step * [0.0, 1.0, 0.0, -1.0][i % 4])
    }
}

/// Publishes a window whose last value is a spike, and says how to follow it. When it was decided
/// what to do about the spike, ordinary values follow, so that its incident ends.
pub(super) async fn send(
    State(state): State<ApiState>,
    JsonOrDefault(wanted): JsonOrDefault<Wanted>,
) -> Result<impl IntoResponse, Problem> {
    wanted.check()?;
    let Ok(place) = Arc::clone(&state.tests).try_acquire_owned() else {
        return Err(too_many());
    };
    let id = format!("test-{}", fresh());
    let metric = TestMetric {
        id: id.clone(),
        name: wanted.name.clone(),
        at: (state.clock)(),
        values: wanted
            .ordinary(wanted.samples - 1)
            .chain([wanted.value])
            .collect(),
        target: wanted.target.clone(),
    };
    state.doors.send_test_metric(metric.clone()).await?;
    state.show(wanted.value);
    tokio::spawn(async move {
        let _place = place;
        calm_down(&state, &wanted, metric).await;
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
        format!("{AT_ONCE} test metrics wait for their decision"),
        "wait until one of them is over; /api/v1/incidents shows them",
    )
}

/// Waits until the spike was decided upon, then sends ordinary values, one a second.
async fn calm_down(state: &ApiState, wanted: &Wanted, spike: TestMetric) {
    tokio::select! {
        _ = tokio::time::timeout(PATIENCE, decided(state, &spike.id)) => {}
        () = state.shutdown.cancelled() => return,
    }
    for value in wanted.ordinary(CALM) {
        let ordinary = TestMetric {
            at: (state.clock)(),
            values: vec![value],
            ..spike.clone()
        };
        if let Err(error) = state.doors.send_test_metric(ordinary).await {
            return tracing::warn!(id = spike.id, %error, "a test metric cannot be calmed down: its incident stays open");
        }
        state.show(value);
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = state.shutdown.cancelled() => return,
        }
    }
}

async fn decided(state: &ApiState, id: &str) {
    let filter = Filter {
        text: Some(id.to_owned()),
        ..Filter::default()
    };
    loop {
        // A history that can't be read now may be readable in a second.
        let decisions = state
            .history
            .decisions(&filter, Page::default())
            .await
            .map(|(decisions, _)| decisions);
        if decisions
            .is_ok_and(|decisions| decisions.iter().any(|decision| decision.state.is_final()))
        {
            return;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The value that was sent last, for a Prometheus to scrape; no sample before the first one.
pub(super) async fn scrape(State(state): State<ApiState>) -> impl IntoResponse {
    let mut text =
        format!("# HELP {NAME} What /send-test-metric sent last.\n# TYPE {NAME} gauge\n");
    if let Some(value) = *state.last_test.lock() {
        text.push_str(&format!("{NAME} {}\n", number(value)));
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text)
}

/// Writes a number as Prometheus does.
fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}
