//! JSON formats of other producers on `metrics-topic`.
//!
//! The formats take the metric's name as the signal and count one source that answered:
//! - a window `{"name", "values": [..], "timestamp"}`: the last value is the newest and was
//!   observed at `timestamp`. The other values are one second apart, or `step` (or `interval`)
//!   apart, in seconds or as `"15s"`;
//! - one value `{"name", "value", "timestamp", "labels"}`.
//!
//! `timestamp` is in seconds, milliseconds or RFC 3339. A value is a number, its text, or null for
//! a missing value. Both formats may have `labels`. They may name a target in the field `target` or
//! in a label of that name (`cluster/namespace/kind/name`).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::shortened;
use crate::{AcceptedTime, DecodeError, external, remote_write};
use anomalyzer_domain::{Coverage, Labels, MetricBatch, Sample, Series, Target, UnixMs};

/// Header and label that name a target.
pub(super) const TARGET: &str = "target";

/// Maximum length of a metric's name in bytes.
pub(super) const MOST_NAME_BYTES: usize = 1024;

/// Maximum number of values in one window.
const MOST_VALUES: usize = 100_000;

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

pub(super) fn decode_json(
    payload: &[u8],
    believed: AcceptedTime,
) -> Result<MetricBatch, DecodeError> {
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
