//! Addresses of sources.

use std::fmt;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use anomalyzer_common::secret_url::shown;

/// An absolute `http` or `https` address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl(Url);

impl HttpUrl {
    /// Returns the address as text, including its credentials.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the address, including its credentials.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

/// Shows the address without the credentials that it may hold.
impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.as_str()))
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Self(url)),
            _ => Err(format!(
                "`{}` is not an address: write for example http://127.0.0.1:9090",
                shown(&text)
            )),
        }
    }
}

impl From<HttpUrl> for String {
    fn from(url: HttpUrl) -> Self {
        url.0.into()
    }
}

/// Returns the address of `path` below a base address. Keeps the parameters of the base address,
/// such as `deny_partial_response=1`.
pub fn below(base: &HttpUrl, path: &str) -> Url {
    let mut url = base.url().clone();
    let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
    url.set_path(&joined);
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_scheme_is_refused_and_credentials_are_not_shown() {
        for text in ["127.0.0.1:9090", "ftp://host", "", "http://"] {
            assert!(HttpUrl::try_from(text.to_owned()).is_err(), "{text}");
        }
        let error = HttpUrl::try_from("http://user:secret@host:port?token=1".to_owned());
        assert!(error.unwrap_err().starts_with("`…` is not an address"));
        let url = HttpUrl::try_from("http://user:secret@host/path?token=1".to_owned()).unwrap();
        assert_eq!(format!("{url:?}"), "http://host/…");
    }

    #[test]
    fn the_parameters_of_a_base_address_stay_behind_the_path() {
        for (base, url) in [
            ("http://h:1", "http://h:1/api/v1/query"),
            ("http://h:1/", "http://h:1/api/v1/query"),
            ("http://h/a/b/", "http://h/a/b/api/v1/query"),
            (
                "http://h/select/0/prometheus?deny_partial_response=1&x=%2F",
                "http://h/select/0/prometheus/api/v1/query?deny_partial_response=1&x=%2F",
            ),
            ("http://h/?dedup#top", "http://h/api/v1/query?dedup"),
        ] {
            let base = HttpUrl::try_from(base.to_owned()).unwrap();
            assert_eq!(below(&base, "api/v1/query").as_str(), url);
        }
    }
}
