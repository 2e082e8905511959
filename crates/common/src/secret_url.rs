//! Addresses that may hold secrets: credentials, a query, or a token in the path.

use std::fmt;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD as BASE64, BASE64_URL_SAFE_NO_PAD as BASE64_URL};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde::{Deserialize, Serialize, Serializer};

/// An address of the configuration that is shown without its secrets. `Display`, `Debug` and
/// serialization mask it; [`reveal`](Self::reveal) returns the whole text for a request.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Returns the whole address. It must reach a request only, never a message.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Masks the credentials of the address in a text of its server, which may repeat the header of
    /// a request: the password, and both names as basic authentication writes them (RFC 7617).
    #[must_use]
    pub fn mask_in(&self, text: &str) -> String {
        let Ok(url) = Url::parse(self.0.trim()) else {
            return text.to_owned();
        };
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let (user, password) = (url.username(), url.password().unwrap_or_default());
        let mut secrets = vec![password.to_owned(), decoded(password)];
        if !user.is_empty() || !password.is_empty() {
            let pair = format!("{}:{}", decoded(user), decoded(password));
            secrets.push(BASE64.encode(&pair));
            secrets.push(BASE64_URL.encode(&pair));
            // A token as the user name is a secret too.
            if password.is_empty() {
                secrets.extend([user.to_owned(), decoded(user)]);
            }
        }
        secrets.retain(|secret| secret.len() >= MIN_SECRET_BYTES);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut masked = text.to_owned();
        for secret in secrets {
            masked = masked.replace(&secret, "…");
        }
        masked
    }
}

impl From<String> for SecretUrl {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for SecretUrl {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", shown(&self.0))
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Length from which a credential is masked in a text. A shorter one occurs in any text.
const MIN_SECRET_BYTES: usize = 4;

/// Segments of paths that are shown: the usual names of endpoints of metrics and of the servers
/// that are asked. Any other segment may be a token.
const SHOWN_SEGMENTS: [&str; 32] = [
    "actuator",
    "api",
    "cadvisor",
    "chat",
    "federate",
    "generate",
    "graph",
    "healthz",
    "http_sd",
    "labels",
    "loki",
    "metrics",
    "metrics-test",
    "mimir",
    "probe",
    "probes",
    "prom",
    "prometheus",
    "query",
    "query_range",
    "resource",
    "sd",
    "select",
    "series",
    "stats",
    "status",
    "tags",
    "targets",
    "v1",
    "v2",
    "values",
    "version",
];

/// Returns an address without anything that may be secret: scheme, host, port, and the path as far
/// as its segments are the usual names of endpoints. An ellipsis stands for the rest, because
/// webhooks carry their token in the path, and other servers in the query. The text need not be a
/// valid address.
pub fn shown(text: &str) -> String {
    let text = text.trim();
    let url = match Url::parse(text) {
        Ok(url) if url.has_host() => url,
        _ => return unparsed(text),
    };
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}"));
    let mut shown = format!("{}://{host}{}", url.scheme(), port.unwrap_or_default());
    let beyond = [Some(url.path()), url.query(), url.fragment()];
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    // An `@` behind the host may end a password with a slash, a question mark or a hash. What looks
    // like the host is then a part of the credentials.
    if beyond.iter().flatten().any(|part| has_at(part)) || (has_at(text) && !has_credentials) {
        return "…".to_owned();
    }
    let mut segments = url.path().split('/').filter(|segment| !segment.is_empty());
    let known: Vec<&str> = segments.by_ref().take_while(|it| is_usual(it)).collect();
    let whole = known.len() == url.path().split('/').filter(|it| !it.is_empty()).count();
    for segment in &known {
        shown.push('/');
        shown.push_str(segment);
    }
    let has_more = url.query().is_some() || url.fragment().is_some();
    shown.push_str(match (whole, has_more, known.is_empty()) {
        (true, false, _) => "",
        (true, true, false) => "?…",
        _ => "/…",
    });
    shown
}

/// Returns true for a segment that is the name of an endpoint, or the number of a tenant.
fn is_usual(segment: &str) -> bool {
    let is_number = segment.len() <= 3 && segment.bytes().all(|byte| byte.is_ascii_digit());
    is_number || SHOWN_SEGMENTS.contains(&segment)
}

/// Returns true if the text has an `@`, which may be written as `%40`.
fn has_at(text: &str) -> bool {
    text.contains('@') || text.contains("%40")
}

/// Returns the part of a text that can be shown although it is no address.
fn unparsed(text: &str) -> String {
    if has_at(text) {
        return "…".to_owned();
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            (format!("{scheme}://"), rest)
        }
        _ => (String::new(), text),
    };
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    let more = if end < rest.len() { "/…" } else { "" };
    format!("{scheme}{}{more}", &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `MARK` stands for a secret. Nothing that is shown may have it.
    #[test]
    fn an_address_is_shown_without_anything_that_may_be_secret() {
        for (text, expected) in [
            ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
            ("http://gpu/", "http://gpu"),
            // Credentials.
            ("http://ada:MARK@gpu:1?key=MARK", "http://gpu:1/…"),
            ("http://MARK@gpu", "http://gpu"),
            ("http://:MARK@gpu", "http://gpu"),
            ("http://ada:MARK@MARK@gpu", "http://gpu"),
            ("http://ada:M%2FMARK@gpu/metrics", "http://gpu/metrics"),
            (
                "http://ada:MARK@[::1]:8443/metrics",
                "http://[::1]:8443/metrics",
            ),
            ("http:\\\\ada:MARK@gpu\\metrics", "http://gpu/metrics"),
            // Passwords that are not encoded.
            ("http://ada:MA/MARK@gpu", "…"),
            ("http://ada:1/MARK@gpu", "…"),
            ("http://ada:MA?MARK@gpu", "…"),
            ("http://ada@MARK:1?MARK@gpu", "…"),
            ("http://ada@MARK:1#MARK@gpu", "…"),
            ("http://ada@MARK:1/MARK@gpu", "…"),
            ("http://ada:MARK@gpu:port", "…"),
            ("http://ada%3AMARK%40gpu/metrics", "…"),
            ("ada:MARK@gpu", "…"),
            ("ada:MARK@gpu:1/p?t=MARK", "…"),
            // Queries and fragments.
            ("http://gpu/metrics?token=MARK", "http://gpu/metrics?…"),
            (
                "http://gpu/metrics?api_key=MARK&sig=MARK",
                "http://gpu/metrics?…",
            ),
            ("http://gpu/?key=MARK", "http://gpu/…"),
            ("http://gpu/metrics?to%6Ben=MARK", "http://gpu/metrics?…"),
            ("http://gpu/probe?target=http://ada:MARK@web", "…"),
            ("http://gpu/probe?target=http%3A%2F%2Fada%3AMARK%40web", "…"),
            (
                "http://gpu/probe?target=http://web/MARK",
                "http://gpu/probe?…",
            ),
            ("https://gpu/#MARK", "https://gpu/…"),
            ("https://gpu/metrics#MARK", "https://gpu/metrics?…"),
            // Paths.
            (
                "https://hooks.slack.com/services/T/B/MARK",
                "https://hooks.slack.com/…",
            ),
            (
                "https://discord.com/api/webhooks/12/MARK",
                "https://discord.com/api/…",
            ),
            (
                "https://api.telegram.org/bot1:MARK/sendMessage",
                "https://api.telegram.org/…",
            ),
            ("https://[::1]:8443/MARK#MARK", "https://[::1]:8443/…"),
            (
                "http://gpu/https://hooks.slack.com/services/MARK",
                "http://gpu/…",
            ),
            ("http://gpu//metrics//MARK", "http://gpu/metrics/…"),
            ("http://gpu/metrics/../MARK", "http://gpu/…"),
            ("http://gpu/%6Detrics/MARK", "http://gpu/…"),
            ("http://gpu/metrics/cadvisor", "http://gpu/metrics/cadvisor"),
            (
                "http://vm:8481/select/0/prometheus/api/v1/query?query=MARK",
                "http://vm:8481/select/0/prometheus/api/v1/query?…",
            ),
            // No addresses.
            ("ftp://gpu/MARK", "ftp://gpu/…"),
            ("gpu/MARK?MARK", "gpu/…"),
            ("gpu:port/metrics?token=MARK", "gpu:port/…"),
            ("http://gpu:port/MARK?token=MARK", "http://gpu:port/…"),
            ("http://gpu:port?t=MARK", "http://gpu:port/…"),
            ("http://[fe80::1%25eth0]/MARK", "http://[fe80::1%25eth0]/…"),
            ("gpu?next=http://MARK", "gpu/…"),
            ("127.0.0.1:9090", "127.0.0.1:9090"),
            ("here", "here"),
            ("", ""),
        ] {
            let url = SecretUrl::from(text);
            assert_eq!(url.to_string(), expected, "{text}");
            let debug = format!(
                "{url:?} {}",
                serde_json::to_string(&url).unwrap_or_default()
            );
            assert!(!debug.contains("MARK"), "{debug}");
            assert_eq!(url.reveal(), text);
        }
    }

    #[test]
    fn the_credentials_are_masked_in_texts_of_the_server() {
        let url = SecretUrl::from("http://ada:p%40ss@gpu:1/");
        for (text, shown) in [
            ("denied", "denied"),
            (
                "got Authorization: Basic YWRhOnBAc3M=",
                "got Authorization: Basic …",
            ),
            ("password p@ss of ada", "password … of ada"),
            ("p%40ss", "…"),
        ] {
            assert_eq!(url.mask_in(text), shown);
        }
        let token = SecretUrl::from("http://t0ken@gpu/");
        assert_eq!(token.mask_in("t0ken, dDBrZW46"), "…, …");
        assert_eq!(SecretUrl::from("http://gpu/").mask_in("a b"), "a b");
    }

    proptest::proptest! {
        #[test]
        fn no_place_of_an_address_shows_a_secret(
            before in "(http|https)://(ada:)?", mid in "[/?#@:%&=. a-z0-9]{0,12}", after in "[/?#@:%&=a-z0-9]{0,12}",
        ) {
            for separator in ["/", "?", "#", "?token=", "/metrics/", "?a=1&sig="] {
                let text = format!("{before}gpu{mid}{separator}MARK{after}");
                proptest::prop_assert!(!shown(&text).contains("MARK"), "{text}: {}", shown(&text));
            }
        }
    }
}
