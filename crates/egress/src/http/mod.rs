//! Performs the HTTP requests of actions. Requests reach only destinations that the configuration
//! allows. They carry credentials that the action never sees.
//!
//! Delivery is at least once: a receiver that ignores the `Idempotency-Key` may be asked twice.

mod address;
mod allow;
mod resolve;

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::json;

use allow::Allowed;
use anomalyzer_common::secret_url::shown;
use anomalyzer_common::{http_client, secret_file};
use anomalyzer_domain::{ConfigIssue, HttpRequest, OperationId, duration};
use anomalyzer_operator::{OperatorError, Performed};
use resolve::{Forbidden, Resolver};

/// Headers that only the host may set, or that would change the meaning of the connection.
const RESERVED: [&str; 13] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Maximum number of headers of one request.
const MAX_HEADERS: usize = 32;

/// The `[http]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Allowed destinations as `host:port`, where the port may be `*`, with or without a scheme:
    /// `hooks.example.com:443`, `http://127.0.0.1:*`. Without a scheme, port 443 means `https`,
    /// port 80 means `http`, and any other port allows both. Requests to every other destination
    /// are refused.
    pub allow: Vec<String>,
    /// Non-public addresses that names in `allow` may resolve to: `10.1.2.3`, `10.0.0.0/8`. Every
    /// name may resolve to public addresses. Loopback, private, link-local and metadata addresses
    /// are refused unless they are listed here. An address that is written literally in `allow`
    /// needs no entry.
    pub allow_addresses: Vec<String>,
    /// Headers to add, by URL.
    pub credentials: Vec<Credential>,
    /// Timeout of one request.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Maximum size of a request's body in bytes.
    pub max_request_bytes: usize,
    /// Maximum number of bytes that are read of a response's body.
    pub max_response_bytes: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            allow_addresses: Vec::new(),
            credentials: Vec::new(),
            timeout: Duration::from_secs(10),
            max_request_bytes: 256 * 1024,
            max_response_bytes: 256 * 1024,
        }
    }
}

impl HttpConfig {
    /// Checks the settings as [`HttpSender::new`] does.
    ///
    /// # Errors
    /// Returns the first issue.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        HttpSender::new(self).map(drop)
    }
}

/// An entry of `[[http.credentials]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// URL prefix such as `https://hooks.example.com/anomalyzer/`. The header is added to requests
    /// below it.
    pub url: String,
    /// Name of the header.
    #[serde(default = "authorization")]
    pub header: String,
    /// File with the header's value. It is read again for each request.
    pub value_file: PathBuf,
}

fn authorization() -> String {
    "authorization".to_owned()
}

impl Credential {
    fn parse(&self) -> Result<(Url, HeaderName, PathBuf), ConfigIssue> {
        let wrong = |key: &str, value: &str, why: &str| {
            ConfigIssue::at(key, format!("http.credentials: `{value}` {why}"))
        };
        let url = Url::parse(&self.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none())
            .ok_or_else(|| wrong("url", &shown(&self.url), "is no URL to begin with"))?;
        let header = self.header.parse();
        let header = header.map_err(|_| wrong("header", &self.header, "is no header"))?;
        Ok((url, header, self.value_file.clone()))
    }
}

/// Parses each entry of the list `key`.
fn entries<T>(
    key: &str,
    list: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ConfigIssue> {
    let parsed = list.iter().enumerate().map(|(index, entry)| {
        parse(entry).map_err(|message| ConfigIssue::at(index, message).within(key))
    });
    parsed.collect()
}

/// Sender of the requests of actions.
#[derive(Debug)]
pub struct HttpSender {
    client: reqwest::Client,
    allow: Vec<Allowed>,
    credentials: Vec<(Url, HeaderName, PathBuf)>,
    max_request_bytes: usize,
    max_response_bytes: usize,
}

impl HttpSender {
    /// Parses the allow lists and the credentials, and sets up the client.
    ///
    /// # Errors
    /// Returns the first issue.
    pub fn new(config: &HttpConfig) -> Result<Self, ConfigIssue> {
        if config.timeout.is_zero() {
            let message = "http.timeout must be above 0, for example \"10s\"";
            return Err(ConfigIssue::at("timeout", message));
        }
        let allow = entries("allow", &config.allow, Allowed::parse)?;
        let addresses = entries("allow_addresses", &config.allow_addresses, str::parse)?;
        let client = http_client::resolving(config.timeout, Resolver::new(addresses))
            .map_err(|error| ConfigIssue::new(format!("cannot make an HTTP client: {error}")))?;
        let credentials = config.credentials.iter().enumerate();
        let credentials = credentials.map(|(index, credential)| {
            credential
                .parse()
                .map_err(|issue| issue.within(index).within("credentials"))
        });
        Ok(Self {
            client,
            allow,
            credentials: credentials.collect::<Result<_, _>>()?,
            max_request_bytes: config.max_request_bytes,
            max_response_bytes: config.max_response_bytes,
        })
    }

    /// Sends the request with the operation's id as `Idempotency-Key`. The result is `{"status":
    /// 200, "body": "…"}`, with `"truncated": true` if the body was longer than the limit.
    ///
    /// # Errors
    ///
    /// Returns an error for any status other than 2xx.
    pub async fn perform(
        &self,
        id: &OperationId,
        request: &HttpRequest,
    ) -> Result<Performed, OperatorError> {
        let method = method(&request.method)?;
        let url = self.url(&request.url)?;
        let place = place(&url);
        let mut headers = headers(&request.headers)?;
        let credentials = self.credentials(&url).await?;
        if let Some((name, _)) = credentials
            .iter()
            .find(|(name, _)| headers.contains_key(name))
        {
            return Err(OperatorError::Refused(format!(
                "the header {name} is the host's to set: http.credentials configures it for {place}"
            )));
        }
        headers.extend(credentials.iter().cloned());
        if let Ok(key) = HeaderValue::from_str(id.as_str()) {
            headers.insert("idempotency-key", key);
        }
        let length = request.body.as_ref().map_or(0, Vec::len);
        if length > self.max_request_bytes {
            return Err(OperatorError::Refused(format!(
                "a body of {length} bytes is longer than http.max_request_bytes, {}",
                self.max_request_bytes
            )));
        }
        let read = matches!(method, Method::GET | Method::HEAD);
        let unclear = |why| {
            if read {
                OperatorError::Unavailable(why)
            } else {
                OperatorError::InDoubt(why)
            }
        };
        let mut sending = self.client.request(method.clone(), url).headers(headers);
        if let Some(body) = &request.body {
            sending = sending.body(body.clone());
        }
        let answer = sending.send().await.map_err(|error| {
            if let Some(forbidden) = Forbidden::behind(&error) {
                return OperatorError::Refused(forbidden.to_string());
            }
            let never_sent = error.is_connect() || error.is_builder();
            let why = format!("{method} {place}: {}", http_client::reason(error));
            if never_sent {
                OperatorError::Unavailable(why)
            } else {
                unclear(why)
            }
        })?;
        let status = answer.status();
        let body = read_body(answer, self.max_response_bytes).await;
        let body = body.map(|(text, truncated)| (hide(text, &credentials), truncated));
        if !status.is_success() {
            let (text, _) = body.unwrap_or_default();
            let text: String = text.chars().take(200).collect();
            return Err(refusal(
                status,
                format!("{method} {place} was answered {status}: {text}"),
                unclear,
            ));
        }
        // The receiver has done the operation, even if the rest of its response got lost.
        let (text, truncated) = body.unwrap_or((String::new(), true));
        let mut result = json!({"status": status.as_u16(), "body": text});
        if truncated {
            result["truncated"] = true.into();
        }
        Ok(Performed {
            result,
            before: None,
            after: None,
            version: None,
        })
    }

    fn url(&self, text: &str) -> Result<Url, OperatorError> {
        let refused = |why: String| Err(OperatorError::Refused(why));
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return refused(format!("the URL cannot be read: {error}")),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return refused(format!("{} is neither http nor https", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused(
                "a URL may not hold credentials: configure http.credentials".to_owned(),
            );
        }
        if !self.allow.iter().any(|allowed| allowed.covers(&url)) {
            let place = place(&url);
            return refused(format!("{place} may not be asked: add it to http.allow"));
        }
        Ok(url)
    }

    async fn credentials(
        &self,
        url: &Url,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, OperatorError> {
        let mut headers = Vec::new();
        // A receiver may decode the path further than a URL is decoded.
        let decoded = decoded_path(url.path());
        for (prefix, header, file) in &self.credentials {
            let is_here = prefix.origin() == url.origin();
            let as_written = is_here && is_below(prefix.path(), url.path());
            let as_decoded = is_here && is_below(&decoded_path(prefix.path()), &decoded);
            if as_written != as_decoded {
                return Err(OperatorError::Refused(format!(
                    "{} can be read in two ways, below {} and elsewhere: write its path without encoded dots and slashes",
                    place(url),
                    place(prefix)
                )));
            }
            if !as_written {
                continue;
            }
            let unusable = |why: String| {
                OperatorError::Unavailable(format!(
                    "cannot use http.credentials.value_file {}: {why}",
                    file.display()
                ))
            };
            let value = secret_file::read(file)
                .await
                .map_err(|error| unusable(error.to_string()))?;
            let mut value = HeaderValue::from_str(value.trim()).map_err(|_| {
                unusable(format!(
                    "it is no value for the header {header} of {}",
                    place(prefix)
                ))
            })?;
            value.set_sensitive(true);
            headers.push((header.clone(), value));
        }
        Ok(headers)
    }
}

fn method(name: &str) -> Result<Method, OperatorError> {
    match name.to_ascii_uppercase().as_str() {
        "GET" => Ok(Method::GET),
        "HEAD" => Ok(Method::HEAD),
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        _ => Err(OperatorError::Refused(format!(
            "the method `{}` may not be used: GET, HEAD, POST, PUT, PATCH and DELETE may",
            name.escape_debug().take(20).collect::<String>()
        ))),
    }
}

fn headers(asked: &[(String, String)]) -> Result<HeaderMap, OperatorError> {
    if asked.len() > MAX_HEADERS {
        return Err(OperatorError::Refused(format!(
            "a request may have {MAX_HEADERS} headers, not {}",
            asked.len()
        )));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in asked {
        let wrong =
            || OperatorError::Refused(format!("`{}` is no header to send", name.escape_debug()));
        if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(OperatorError::Refused(format!(
                "the header {name} is the host's to set"
            )));
        }
        let name = name.parse::<HeaderName>().map_err(|_| wrong())?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(headers)
}

/// Returns the URL without its query and fragment, which may be secret.
fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// Returns the path as the most generous receiver reads it: decoded until nothing is encoded, with
/// backslashes as slashes, without parameters of its segments (`;x=1`), and without dot segments.
fn decoded_path(path: &str) -> String {
    let mut text = path.to_owned();
    // Each round makes the text shorter, so that the loop ends.
    loop {
        let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        if decoded.len() >= text.len() {
            break;
        }
        text = decoded;
    }
    let mut segments: Vec<&str> = Vec::new();
    let mut is_folder = true;
    for segment in text.split(['/', '\\']) {
        let name = segment.split(';').next().unwrap_or_default();
        is_folder = matches!(name, "" | "." | "..");
        match name {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let end = if is_folder && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", segments.join("/"))
}

/// Returns true if `path` is equal to `prefix` or below it: its rest starts at a `/`.
fn is_below(prefix: &str, path: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

/// Removes credentials from `text`, because a response that repeats the request must not reveal
/// them to the action.
fn hide(mut text: String, credentials: &[(HeaderName, HeaderValue)]) -> String {
    for secret in credentials
        .iter()
        .filter_map(|(_, value)| value.to_str().ok())
    {
        let token = secret.rsplit(' ').next().unwrap_or(secret);
        if !token.is_empty() {
            text = text.replace(token, "(hidden)");
        }
    }
    text
}

fn refusal(
    status: StatusCode,
    why: String,
    unclear: impl Fn(String) -> OperatorError,
) -> OperatorError {
    match status.as_u16() {
        429 | 503 => OperatorError::Unavailable(why),
        // A gateway answered, which does not know the outcome of the request.
        502 | 504 => unclear(why),
        300..=399 => OperatorError::Refused(format!("{why} (redirects are not followed)")),
        _ => OperatorError::Refused(why),
    }
}

/// Reads the body as text up to `limit` bytes. The flag is true if there was more. Returns `None`
/// if the body broke off.
async fn read_body(mut answer: Response, limit: usize) -> Option<(String, bool)> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        let room = limit.saturating_sub(bytes.len());
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Some((String::from_utf8_lossy(&bytes).into_owned(), true));
        }
    }
    Some((String::from_utf8_lossy(&bytes).into_owned(), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_as_the_most_generous_receiver_reads_it() {
        for (path, decoded) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//a///b", "/a/b"),
            ("/priv/..%2fpub", "/pub"),
            ("/priv/..%2Fpub", "/pub"),
            ("/priv/%2e%2e%2fpub", "/pub"),
            ("/priv/..%252fpub", "/pub"),
            ("/priv/..%25252fpub", "/pub"),
            ("/priv/..%5cpub", "/pub"),
            ("/priv/..;/pub", "/pub"),
            ("/priv/..;x=1%2fpub", "/pub"),
            ("/pub/..%2fpriv/x", "/priv/x"),
            ("/a%2fb", "/a/b"),
            ("/..%2f..%2f", "/"),
            ("/%", "/%"),
            ("/%ff%2f..%2fb", "/b"),
        ] {
            assert_eq!(decoded_path(path), decoded, "{path}");
        }
    }

    #[tokio::test]
    async fn a_credential_goes_only_where_the_path_leads_in_every_reading() {
        let file = std::env::temp_dir().join(format!("egress-credential-{}", std::process::id()));
        std::fs::write(&file, "REAL").unwrap();
        let credential = |path: &str, header: &str| Credential {
            url: format!("http://127.0.0.1:9{path}"),
            header: header.to_owned(),
            value_file: file.clone(),
        };
        let sender = HttpSender::new(&HttpConfig {
            allow: vec!["127.0.0.1:*".into()],
            credentials: vec![
                credential("/priv/", "x-api-key"),
                credential("/te%20am", "x-team"),
            ],
            ..HttpConfig::default()
        })
        .unwrap();
        let at = |url: String| {
            let (sender, url) = (&sender, Url::parse(&url).unwrap());
            async move { sender.credentials(&url).await.map(|headers| headers.len()) }
        };
        let given = |path: &str| at(format!("http://127.0.0.1:9{path}"));
        for (path, count) in [
            ("/priv/x", 1),
            ("/priv/a%2fb", 1),
            ("/pub/x", 0),
            ("/priv/../pub", 0),
            ("/priv/%2e%2e/pub", 0),
            ("/priv", 0),
            ("/te%20am", 1),
            ("/te%20am/a?x=1", 1),
            ("/te%20ams", 0),
        ] {
            assert_eq!(given(path).await.unwrap(), count, "{path}");
        }
        for other in [
            "https://127.0.0.1:9",
            "http://127.0.0.1:10",
            "http://127.0.0.1.evil.net:9",
        ] {
            assert_eq!(at(format!("{other}/priv/x")).await.unwrap(), 0, "{other}");
        }
        for path in [
            "/priv/..%2fpub",
            "/priv/..%252fpub",
            "/priv/..%5cpub",
            "/priv/..;/pub",
            "/pub/..%2fpriv/x",
            "/%70riv/x",
        ] {
            let error = given(path).await.unwrap_err().to_string();
            assert!(error.contains("in two ways"), "{path}: {error}");
        }
        let request = |header: &str| HttpRequest {
            method: "POST".into(),
            url: "http://127.0.0.1:9/priv/x".into(),
            headers: vec![(header.into(), "MINE".into())],
            body: None,
        };
        let id = OperationId::from("op-1");
        for header in ["x-api-key", "X-API-Key"] {
            let refused = sender.perform(&id, &request(header)).await;
            assert!(
                matches!(&refused, Err(OperatorError::Refused(why)) if why.contains("x-api-key")),
                "{refused:?}"
            );
        }
        let sent = sender.perform(&id, &request("x-other")).await;
        assert!(!matches!(sent, Err(OperatorError::Refused(_))), "{sent:?}");
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn headers_that_are_the_hosts_are_refused_in_any_case() {
        for name in [
            "Authorization",
            "HOST",
            "content-length",
            "Idempotency-Key",
            "no header",
            "",
        ] {
            assert!(
                headers(&[(name.to_owned(), "x".to_owned())]).is_err(),
                "{name}"
            );
        }
        assert!(headers(&[("x-ok".to_owned(), "line\r\nbreak".to_owned())]).is_err());
        assert_eq!(
            headers(&[("X-Ok".to_owned(), "yes".to_owned())]).unwrap()["x-ok"],
            "yes"
        );
    }
}
