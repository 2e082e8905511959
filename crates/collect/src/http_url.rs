//! Addresses: their form, and the form in which they are shown.

use std::fmt;

use reqwest::Url;
use serde::{Deserialize, Serialize};

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
        f.write_str(&shown(&self.0))
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Self(url)),
            _ => Err(format!(
                "`{}` is not an address: write for example http://127.0.0.1:9090",
                shown_text(&text)
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

/// Returns an address without the credentials and the query that it may hold.
pub fn shown(url: &Url) -> String {
    if url.cannot_be_a_base() {
        // `user:password@host` has the scheme `user`.
        return mask(url.as_str());
    }
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
    Url::parse(url).map_or_else(|_| mask(url), |url| shown(&url))
}

/// Removes from a text that is no address everything that would be secret in an address.
fn mask(text: &str) -> String {
    let (scheme, rest) = match text.split_once("//") {
        Some((scheme, rest)) => (format!("{scheme}//"), rest),
        None => (String::new(), text),
    };
    let place = match rest.rsplit_once('@') {
        // The `@` may belong to the query or to a password with a question mark.
        Some((before, _)) if before.contains(['?', '#']) => "…",
        Some((_, place)) => place,
        None => rest,
    };
    let end = place.find(['?', '#']).unwrap_or(place.len());
    let scheme = if scheme.contains(['?', '#', '@']) {
        "…//"
    } else {
        &scheme
    };
    format!("{scheme}{}", &place[..end])
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
        assert!(error.unwrap_err().starts_with("`http://host:port` is not"));
        let url = HttpUrl::try_from("http://user:secret@host/path?token=1".to_owned()).unwrap();
        assert_eq!(format!("{url:?}"), "http://host/path");
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

    #[test]
    fn an_address_is_shown_without_its_secrets_even_if_it_is_none() {
        for (given, shown) in [
            ("http://h:1/p", "http://h:1/p"),
            ("http://u:PW@h:1/p?t=KEY#KEY", "http://h:1/p"),
            ("http://u:PW@h:port/p?t=KEY", "http://h:port/p"),
            ("http://u:P/W@h:port/p", "http://h:port/p"),
            ("http://u:P@W@h:port", "http://h:port"),
            ("http://u:P?W@h:port", "http://…"),
            ("http://h:port?a=@b&t=KEY", "http://…"),
            ("u:PW@h:1", "h:1"),
            ("u:PW@h:1/p?t=KEY", "h:1/p"),
            ("h:port/p?t=KEY//x", "…//x"),
            ("here", "here"),
            ("", ""),
        ] {
            assert_eq!(shown_text(given), shown, "{given}");
        }
    }
}
