//! Sends one HTTP request with limits, and classifies its failures.

use std::time::Duration;

use async_compression::tokio::bufread::{GzipDecoder, ZlibDecoder};
use futures::TryStreamExt;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, TRANSFER_ENCODING,
};
use reqwest::{RequestBuilder, Response, Url, Version};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

use anomalyzer_common::http_client::{ReadClient, reason};
use anomalyzer_common::secret_url::shown;
use anomalyzer_domain::excerpt;

use crate::{AccessConfig, ClientError, SourceError};

/// Number of bytes after which the reader of an answer lets other tasks run.
const PIECE: u64 = 256 << 10;

/// First bytes of data that is compressed with gzip (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// True if the content type or the body indicates HTML.
    pub html: bool,
    /// The content type, or an empty text.
    pub content_type: String,
    /// True if the transfer showed that the body is complete: by its length, by its last chunk or
    /// by the end of the compressed data. The end of the connection shows nothing.
    pub whole: bool,
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

/// Client of a server, with the credentials for it.
#[derive(Clone, Debug)]
pub struct SourceClient {
    http: ReadClient,
    access: AccessConfig,
}

impl SourceClient {
    /// Sets up the client. Sends no request yet.
    ///
    /// # Errors
    /// Returns an error if the file with the authorities to trust can't be used.
    pub fn new(access: AccessConfig, timeout: Duration) -> Result<Self, ClientError> {
        let authorities = access.authorities()?;
        let http = ReadClient::new(timeout, authorities.as_deref())
            .map_err(|error| ClientError(reason(error)))?;
        Ok(Self { http, access })
    }

    /// Returns a client for another server that is trusted alike. The clients share connections.
    pub fn with_access(&self, access: AccessConfig) -> Self {
        Self {
            http: self.http.clone(),
            access,
        }
    }

    /// Starts a GET request.
    pub fn get(&self, url: Url) -> RequestBuilder {
        self.http.get(url)
    }

    /// Starts a POST request that changes nothing, and may be sent twice.
    pub fn post(&self, url: Url) -> RequestBuilder {
        self.http.post(url)
    }

    /// Sends a request and reads the answer, whatever its status is.
    pub async fn send(
        &self,
        request: RequestBuilder,
        bounds: Bounds,
    ) -> Result<Answer, SourceError> {
        let request = self.access.authorize(request).await?;
        let request = request
            .header(ACCEPT_ENCODING, "gzip")
            .timeout(bounds.timeout)
            .build()
            .map_err(|error| SourceError::Unreachable {
                url: "the address".to_owned(),
                reason: reason(error),
            })?;
        let url = shown(request.url().as_str());
        let response = self
            .http
            .execute(request)
            .await
            .map_err(|error| told(error, &url, bounds))?;
        read(response, &url, bounds).await
    }

    /// Fetches a page. Returns an error if the status is not 200 or the page is HTML.
    pub async fn page(
        &self,
        url: &str,
        accept: (HeaderName, &'static str),
        expected: &'static str,
        bounds: Bounds,
    ) -> Result<Answer, SourceError> {
        let unreachable = |reason: String| SourceError::Unreachable {
            url: shown(url),
            reason,
        };
        let parsed = Url::parse(url).map_err(|error| unreachable(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(unreachable("it is no http or https address".to_owned()));
        }
        let request = self.get(parsed).header(accept.0, accept.1);
        let answer = self.send(request, bounds).await?;
        if answer.status != 200 {
            return Err(SourceError::Status {
                url: shown(url),
                status: answer.status,
                excerpt: excerpt(&answer.body),
            });
        }
        if answer.html {
            return Err(SourceError::Unexpected {
                url: shown(url),
                expected,
                excerpt: excerpt(&answer.body),
            });
        }
        Ok(answer)
    }
}

/// Classifies the failure of a request.
fn told(error: reqwest::Error, url: &str, bounds: Bounds) -> SourceError {
    let (url, timed_out, cut) = (
        url.to_owned(),
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
}

/// Reads the body, decompressed. The limit holds for the decompressed bytes.
async fn read(response: Response, url: &str, bounds: Bounds) -> Result<Answer, SourceError> {
    let status = response.status().as_u16();
    let headers = response.headers();
    let content_type = text(headers, &CONTENT_TYPE).to_owned();
    let encoding = text(headers, &CONTENT_ENCODING).to_ascii_lowercase();
    let whole = headers.contains_key(CONTENT_LENGTH)
        || text(headers, &TRANSFER_ENCODING).contains("chunked")
        || response.version() >= Version::HTTP_2;
    let raw = StreamReader::new(response.bytes_stream().map_err(std::io::Error::other));
    let (mut reader, packed): (Box<dyn AsyncRead + Send + Unpin>, bool) = match encoding.as_str() {
        "" | "identity" => (Box::new(raw), false),
        "gzip" | "x-gzip" => {
            let mut decoder = GzipDecoder::new(raw);
            decoder.multiple_members(true);
            (Box::new(decoder), true)
        }
        "deflate" => (Box::new(ZlibDecoder::new(raw)), true),
        other => {
            return Err(SourceError::Malformed {
                url: url.to_owned(),
                reason: format!(
                    "it is compressed with `{}`, which the request did not offer: let the server send gzip, or nothing compressed",
                    excerpt(other.as_bytes())
                ),
            });
        }
    };
    let mut body = Vec::new();
    loop {
        let read = (&mut reader).take(PIECE).read_to_end(&mut body).await;
        let read = read.map_err(|error| match error.downcast::<reqwest::Error>() {
            Ok(error) => told(error, url, bounds),
            Err(error) => SourceError::CutShort {
                url: url.to_owned(),
                reason: error.to_string(),
            },
        })?;
        if body.len() > bounds.body_limit {
            return Err(SourceError::TooLarge {
                url: url.to_owned(),
                limit: bounds.body_limit,
            });
        }
        if read == 0 {
            break;
        }
        // A few compressed bytes may become many, without a wait for the network in between.
        tokio::task::yield_now().await;
    }
    if !packed && body.starts_with(&GZIP_MAGIC) {
        return Err(SourceError::Malformed {
            url: url.to_owned(),
            reason: "it is compressed with gzip, and no `Content-Encoding` says so: let the server send this header, \
                     or nothing compressed"
                .to_owned(),
        });
    }
    let html = content_type.starts_with("text/html") || body.trim_ascii_start().starts_with(b"<");
    Ok(Answer {
        status,
        html,
        content_type,
        whole: whole || packed,
        body,
    })
}

/// Returns a header as text, without blanks at its ends.
fn text<'a>(headers: &'a HeaderMap<HeaderValue>, name: &HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .trim()
}

#[cfg(test)]
mod tests;
