//! Addresses that may hold secrets: credentials, a query, or a token in the path.

use std::fmt;

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

/// Returns scheme, host and port of an address. An ellipsis stands for a path and a query, because
/// webhooks carry their token there. The text need not be a valid address.
pub fn shown(text: &str) -> String {
    let text = text.trim();
    let (origin, more) = match Url::parse(text) {
        // A password with a slash would be read as a host and a path.
        Ok(url) if url.has_host() && (!text.contains('@') || has_credentials(&url)) => {
            let host = url.host_str().unwrap_or_default();
            let port = url.port().map(|port| format!(":{port}"));
            let more = url.path().len() > 1 || url.query().is_some() || url.fragment().is_some();
            let origin = format!("{}://{host}{}", url.scheme(), port.unwrap_or_default());
            (origin, more)
        }
        _ => unparsed(text),
    };
    if more {
        format!("{origin}/…")
    } else {
        origin
    }
}

fn has_credentials(url: &Url) -> bool {
    let username = url.username();
    (!username.is_empty() || url.password().is_some()) && !url.path().contains('@')
}

/// Returns the part of a text that can be shown although it is no address, and true if the text has
/// more behind it.
fn unparsed(text: &str) -> (String, bool) {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    if rest.contains('@') {
        return ("…".to_owned(), false);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    (format!("{scheme}{}", &rest[..end]), end < rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_anything_that_may_be_secret() {
        for (text, expected) in [
            ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
            ("http://gpu/", "http://gpu"),
            ("http://ada:MARK@gpu:1?key=MARK", "http://gpu:1/…"),
            ("http://MARK@gpu", "http://gpu"),
            ("http://:MARK@gpu", "http://gpu"),
            (
                "https://hooks.slack.com/services/T/B/MARK",
                "https://hooks.slack.com/…",
            ),
            ("https://[::1]:8443/MARK#MARK", "https://[::1]:8443/…"),
            ("https://gpu/#MARK", "https://gpu/…"),
            ("http://ada:MA/MARK@gpu", "…"),
            ("http://ada:1/MARK@gpu", "…"),
            ("http://ada:MA?MARK@gpu", "…"),
            ("http://ada:MARK@MARK@gpu", "http://gpu"),
            ("http://ada:MARK@gpu:port", "…"),
            ("ada:MARK@gpu", "…"),
            ("ftp://gpu/MARK", "ftp://gpu/…"),
            ("gpu/MARK?MARK", "gpu/…"),
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
}
