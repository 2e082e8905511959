//! Errors as RFC 9457 problem details: what, where and the remedy.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use anomalyzer_domain::solutions;
use anomalyzer_history::HistoryError;

use super::BODY;
use super::doors::DoorError;

/// A problem. `type` is `urn:anomalyzer:problem:` and the kind.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    remedy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
}

impl Problem {
    /// A problem of that kind (in kebab case); the title is the same for all of a kind.
    pub fn new(
        status: StatusCode,
        kind: &str,
        title: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            kind: format!("urn:anomalyzer:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            remedy: remedy.into(),
            instance: None,
        }
    }

    /// There is no such thing under a path that exists.
    pub fn not_found(what: &str, id: &str, list: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is no such thing",
            format!("there is no {what} `{id}`"),
            format!("{list} lists those that there are"),
        )
    }

    /// The action is not one of the eight.
    pub fn unknown_action(name: &str) -> Self {
        let names: Vec<String> = solutions::ALL
            .iter()
            .map(|name| name.replace('_', "-"))
            .collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown-action",
            "There is no such action",
            format!("there is no action `{name}`"),
            format!("use one of {}", names.join(", ")),
        )
    }

    /// A field of the body that is of the right type does not make sense.
    pub fn bad_field(field: &str, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad-field",
            "A field of the body does not make sense",
            format!("`{field}`: {}", why.into()),
            remedy,
        )
    }

    /// It takes too long.
    pub fn too_slow(limit: std::time::Duration) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "too-slow",
            "The answer took too long",
            format!("there was no answer within {limit:?}"),
            "try again; /health tells which part is slow",
        )
    }

    /// The body is longer than this door takes, in bytes.
    pub(super) fn too_large(most: usize) -> Self {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        let detail = status.canonical_reason().unwrap_or_default().to_lowercase();
        let remedy = match (most >> 20, most % (1 << 20)) {
            (whole, 0) => format!("send at most {whole} MiB"),
            _ => format!("send at most {most} bytes"),
        };
        Self::new(status, "too-large", "The body is too large", detail, remedy)
    }

    /// What axum answers by itself.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let (kind, title, remedy) = match status {
            StatusCode::NOT_FOUND => (
                "unknown-path",
                "There is nothing at this path",
                "the paths are /health, /metrics, /metrics-test, /send-test-metric, /action/{name}, /api/v1/decisions, \
                 /api/v1/incidents, /api/v1/signals and /api/v1/plugins",
            ),
            StatusCode::METHOD_NOT_ALLOWED => (
                "method",
                "This path does not take this method",
                "use a method that the header Allow names",
            ),
            // What takes more says so itself.
            StatusCode::PAYLOAD_TOO_LARGE => return Self::too_large(BODY),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (
                "media-type",
                "The body is not marked as JSON",
                "send the header Content-Type: application/json",
            ),
            status if status.is_client_error() => (
                "bad-request",
                "The request cannot be understood",
                "correct what the detail names",
            ),
            _ => (
                "internal",
                "Something went wrong inside",
                "see the log of the service",
            ),
        };
        Self::new(
            status,
            kind,
            title,
            status.canonical_reason().unwrap_or_default().to_lowercase(),
            remedy,
        )
    }

    /// The same with more words.
    #[must_use]
    pub(super) fn saying(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The same with more to do about it.
    #[must_use]
    pub(super) fn advising(mut self, remedy: &str) -> Self {
        self.remedy.push_str(remedy);
        self
    }

    /// The same at this path.
    #[must_use]
    pub(super) fn at(mut self, path: String) -> Self {
        self.instance = Some(path);
        self
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        tracing::error!(%error, "a request could not be answered from the history");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "history",
            "The history cannot be read or written",
            error.to_string(),
            "see what /health says of the history, then try again",
        )
    }
}

impl From<DoorError> for Problem {
    fn from(error: DoorError) -> Self {
        match error {
            DoorError::Unavailable(why) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "A part is not available",
                why,
                "see what /health says, then try again with the same Idempotency-Key",
            ),
            DoorError::Invalid(why) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "This can never be done",
                why,
                "change the request",
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(&self)).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status() == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"anomalyzer\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        // For the outermost layer, which knows the path.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_a_door_takes_is_told_as_it_is() {
        assert_eq!(
            Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE).remedy,
            "send at most 1 MiB"
        );
        assert_eq!(Problem::too_large(32 << 20).remedy, "send at most 32 MiB");
        assert_eq!(
            Problem::too_large(1_000_000).remedy,
            "send at most 1000000 bytes"
        );
    }
}
