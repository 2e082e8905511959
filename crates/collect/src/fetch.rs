//! Sends one HTTP request with limits, and classifies its failures.

use std::path::Path;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};

use anomalyzer_common::http_client::reason;
use anomalyzer_common::secret_url;

use super::SourceError;
use super::error::excerpt;

/// A whole answer.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// True if the content type or the body indicates HTML.
    pub html: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// Limits of one request.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Maximum time from connecting to the last byte.
    pub timeout: Duration,
    /// Maximum size of the body in bytes.
    pub body_limit: usize,
}

/// Sends a request and reads the answer, whatever its status is.
pub async fn send(
    client: &Client,
    request: RequestBuilder,
    bounds: Bounds,
) -> Result<Answer, SourceError> {
    let request =
        request
            .timeout(bounds.timeout)
            .build()
            .map_err(|error| SourceError::Malformed {
                url: "the address".to_owned(),
                reason: reason(error),
            })?;
    let url = shown(request.url());
    let told = |error: reqwest::Error| {
        let (url, timed_out, cut) = (
            url.clone(),
            error.is_timeout(),
            error.is_body() || error.is_decode(),
        );
        match reason(error) {
            _ if timed_out => SourceError::TimedOut {
                url,
                after: bounds.timeout,
            },
            reason if cut => SourceError::CutShort { url, reason },
            reason => SourceError::Unreachable { url, reason },
        }
    };
    let mut response = client.execute(request).await.map_err(told)?;
    let status = response.status().as_u16();
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let said_html = content_type.starts_with("text/html");
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        if body.len() + chunk.len() > bounds.body_limit {
            return Err(SourceError::TooLarge {
                url,
                limit: bounds.body_limit,
            });
        }
        body.extend_from_slice(&chunk);
    }
    let html = said_html || body.trim_ascii_start().starts_with(b"<");
    Ok(Answer { status, html, body })
}

/// Fetches a page. Returns an error if the status is not 200 or the page is HTML.
pub async fn get(
    client: &Client,
    request: RequestBuilder,
    url: &str,
    expected: &'static str,
    bounds: Bounds,
) -> Result<Vec<u8>, SourceError> {
    let Answer { status, html, body } = send(client, request, bounds).await?;
    if status != 200 {
        return Err(SourceError::Status {
            url: shown_text(url),
            status,
            excerpt: excerpt(&body),
        });
    }
    if html {
        return Err(SourceError::Unexpected {
            url: shown_text(url),
            expected,
            excerpt: excerpt(&body),
        });
    }
    Ok(body)
}

/// Returns an address without the credentials and the query that it may hold.
pub fn shown(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    // Setting these fails only for an address that can't have credentials.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// Returns an address given as text without its credentials and query; see [`shown`].
pub fn shown_text(url: &str) -> String {
    reqwest::Url::parse(url).map_or_else(|_| secret_url::shown(url), |url| shown(&url))
}

/// Adds the token in `file` to a request. Reads the file each time, so that the token may change.
pub async fn authorize(
    request: RequestBuilder,
    file: Option<&Path>,
) -> Result<RequestBuilder, SourceError> {
    let Some(file) = file else { return Ok(request) };
    match tokio::fs::read_to_string(file).await {
        Ok(token) => Ok(request.bearer_auth(token.trim())),
        Err(error) => Err(SourceError::Token {
            path: file.display().to_string(),
            reason: error.to_string(),
        }),
    }
}
