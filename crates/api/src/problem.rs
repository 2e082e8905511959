//! Errors as RFC 9457 problem details: the problem, its place and its remedy.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use anomalyzer_domain::solutions;
use anomalyzer_history::HistoryError;

use super::backend::BackendError;
use super::limits::MAX_BODY_BYTES;

/// A problem. Its `type` is `urn:anomalyzer:problem:` and the kind.
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
    /// Creates a problem of a kind (in kebab case). All problems of a kind have one title.
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

    /// Creates the problem of an unknown id under a path that exists.
    pub fn not_found(what: &str, id: &str, list: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is no such thing",
            format!("there is no {what} `{id}`"),
            format!("{list} lists those that there are"),
        )
    }

    /// Creates the problem of an action that is neither one of the eight nor an uploaded one.
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
            format!(
                "use one of {}, or the name of an uploaded action",
                names.join(", ")
            ),
        )
    }

    /// Creates the problem of a field that has the right type and a senseless value.
    pub fn bad_field(field: &str, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad-field",
            "A field of the body does not make sense",
            format!("`{field}`: {}", why.into()),
            remedy,
        )
    }

    /// Creates the problem of a request that took too long.
    pub fn too_slow(limit: std::time::Duration) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "too-slow",
            "The answer took too long",
            format!("there was no answer within {limit:?}"),
            "try again; /health tells which part is slow",
        )
    }

    /// Creates the problem of a question about plugins that are still loading.
    pub(super) fn loading() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "loading",
            "The plugins are still loading",
            "there is no plugin of that name yet, and not all plugins are loaded",
            "try again; /health tells how many plugins are still loading",
        )
    }

    /// Creates the problem of a body that is longer than `max_bytes`.
    pub(super) fn too_large(max_bytes: usize) -> Self {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        let detail = status.canonical_reason().unwrap_or_default().to_lowercase();
        let remedy = match (max_bytes >> 20, max_bytes % (1 << 20)) {
            (whole, 0) => format!("send at most {whole} MiB"),
            _ => format!("send at most {max_bytes} bytes"),
        };
        Self::new(status, "too-large", "The body is too large", detail, remedy)
    }

    /// Creates the problem of a status that axum answers by itself.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let (kind, title, remedy) = match status {
            StatusCode::NOT_FOUND => (
                "unknown-path",
                "There is nothing at this path",
                "the paths are /health, /metrics, /metrics-test, /send-test-metric, /action/{name}, and decisions, incidents, \
                 signals, kill-switch, silences, feedback and plugins below /api/v1",
            ),
            StatusCode::METHOD_NOT_ALLOWED => (
                "method",
                "This path does not take this method",
                "use a method that the header Allow names",
            ),
            // Routes with a larger limit create their own problem.
            StatusCode::PAYLOAD_TOO_LARGE => return Self::too_large(MAX_BODY_BYTES),
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

    /// Replaces the detail.
    #[must_use]
    pub(super) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Appends to the remedy.
    #[must_use]
    pub(super) fn with_advice(mut self, remedy: &str) -> Self {
        self.remedy.push_str(remedy);
        self
    }

    /// Sets the path.
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
        if let HistoryError::TooSlow { .. } = error {
            return Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "too-slow",
                "The answer took too long",
                error.to_string(),
                "name a target, an incident or a shorter time",
            );
        }
        tracing::error!(%error, "cannot answer a request from the history");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "history",
            "The history cannot be read or written",
            error.to_string(),
            "see what /health says of the history, then try again",
        )
    }
}

impl From<BackendError> for Problem {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Unavailable(why) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "A part is not available",
                why,
                "see what /health says, then try again with the same Idempotency-Key",
            ),
            BackendError::Invalid(why) => Self::new(
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
        // The outermost layer takes the problem from here, and adds the path.
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
