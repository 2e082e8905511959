//! Parsing shared by the formats of other producers: times, targets and steps in human notation.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::DecodeError;
use super::error::shortened;
use super::timestamp::LATEST;
use anomalyzer_domain::{Target, UnixMs, check_name, duration};

/// Smallest number that is read as milliseconds. In seconds it would be the year 5138, in
/// milliseconds it is 1973.
const MILLISECONDS_FROM: f64 = 1e11;

/// Reads a time: seconds or milliseconds since 1970 as a number or its text, or RFC 3339. A time
/// without a zone is in UTC. The accepted range is 1970 to 9999.
pub(super) fn time(name: &'static str, value: &Value) -> Result<UnixMs, DecodeError> {
    let wrong = || {
        let shown = shortened(&value.to_string());
        DecodeError::field(
            name,
            format!("is {shown}: write seconds or milliseconds since 1970, or RFC 3339"),
        )
    };
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.parse::<f64>() {
            Ok(number) => Some(number),
            Err(_) => {
                return rfc3339(text)
                    .filter(|at| (0..=LATEST).contains(at))
                    .ok_or_else(wrong);
            }
        },
        _ => None,
    };
    let number = number.ok_or_else(wrong)?;
    let milliseconds = if number.abs() >= MILLISECONDS_FROM {
        number
    } else {
        number * 1000.0
    };
    if !(0.0..=LATEST as f64).contains(&milliseconds) {
        return Err(wrong());
    }
    // The value is below 2^53, so the conversion is exact.
    Ok(milliseconds.round() as UnixMs)
}

fn rfc3339(text: &str) -> Option<UnixMs> {
    let at = text.parse::<Timestamp>().or_else(|_| {
        let civil = text.parse::<DateTime>()?;
        civil.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp())
    });
    at.ok().map(Timestamp::as_millisecond)
}

/// Reads a target: `cluster/namespace/kind/name`, or an object with these four fields.
pub(super) fn target(value: &Value) -> Result<Target, DecodeError> {
    let target = match value {
        Value::String(text) => text.parse::<Target>().map_err(|error| error.to_string()),
        _ => serde_json::from_value::<Target>(value.clone()).map_err(|error| error.to_string()),
    };
    target
        .and_then(|target| match target.check() {
            Ok(()) => Ok(target),
            Err(error) => Err(error.to_string()),
        })
        .map_err(|reason| DecodeError::field("target", format!("is none: {}", shortened(&reason))))
}

/// Checks a name or a text in one line of another producer.
pub(super) fn name(field: &'static str, text: &str, limit: usize) -> Result<(), DecodeError> {
    check_name(text, limit).map_err(|error| DecodeError::field(field, error.to_string()))
}

/// Reads a step: a number of seconds, or a duration such as `15s`.
pub(super) fn step(value: &Value) -> Result<Duration, DecodeError> {
    let parsed = match value {
        Value::Number(seconds) => seconds
            .as_f64()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        Value::String(text) => duration::parse(text).ok(),
        _ => None,
    };
    let sensible = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
    parsed
        .filter(|step| sensible.contains(step))
        .ok_or_else(|| {
            let shown = shortened(&value.to_string());
            DecodeError::field(
                "step",
                format!("is {shown}: write seconds from 0.001 to 86400, or a duration as \"15s\""),
            )
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_time_in_all_its_spellings() {
        let at = 1_700_000_000_250;
        for value in [
            json!(1_700_000_000.25),
            json!(1_700_000_000_250_i64),
            json!("1700000000.25"),
            json!("2023-11-14T22:13:20.250Z"),
            json!("2023-11-14T23:13:20.250+01:00"),
            json!("2023-11-14T22:13:20.250"),
            json!("2023-11-14 22:13:20.250"),
        ] {
            assert_eq!(time("timestamp", &value), Ok(at), "{value}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_remedy() {
        for value in [
            json!(-1),
            json!(1e18),
            json!("yesterday"),
            json!(null),
            json!("NaN"),
            json!([1]),
            json!("-000001-01-01T00:00:00Z"),
        ] {
            let error = time("timestamp", &value).unwrap_err().to_string();
            assert!(
                error.contains("`timestamp`") && error.contains("RFC 3339"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_target_is_text_or_an_object() {
        let expected = Target::new("shop", "Deployment", "web");
        assert_eq!(
            target(&json!("default/shop/Deployment/web")),
            Ok(expected.clone())
        );
        assert_eq!(
            target(&json!({"namespace": "shop", "kind": "Deployment", "name": "web"})),
            Ok(expected)
        );
        for wrong in [
            json!("web"),
            json!({"kind": "", "name": "x"}),
            json!({"kind": "a/b", "name": "x"}),
            json!({"kind": "Process", "name": "x\ny"}),
            json!("default//Process/web\u{202e}"),
            json!(format!("default//Process/{}", "x".repeat(300))),
            json!(7),
        ] {
            assert!(target(&wrong).is_err(), "{wrong}");
        }
    }
}
