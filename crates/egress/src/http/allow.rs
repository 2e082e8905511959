//! Allow list of request destinations, by scheme, host and port.

use reqwest::Url;

use anomalyzer_common::secret_url::shown;

/// One entry of `http.allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Scheme of the URL. `None` allows both `http` and `https`.
    scheme: Option<&'static str>,
    host: String,
    /// Port of the URL. `None` allows every port.
    port: Option<u16>,
}

impl Allowed {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            let text = shown(text);
            format!(
                "http.allow: `{text}` is not host:port or host:*, as hooks.example.com:443 or https://hooks.example.com:*"
            )
        };
        let (scheme, place) = match text.split_once("://") {
            Some(("https", place)) => (Some("https"), place),
            Some(("http", place)) => (Some("http"), place),
            Some(_) => return Err(wrong()),
            None => (None, text),
        };
        let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
        // The host is normalised as a URL writes it: in lower case, with IPv6 addresses in
        // brackets.
        let url = Url::parse(&format!("http://{host}/")).map_err(|_| wrong())?;
        if url.path() != "/" || url.port().is_some() || !url.username().is_empty() {
            return Err(wrong());
        }
        let host = url.host_str().ok_or_else(wrong)?.to_owned();
        let port = match port {
            "*" => None,
            number => Some(number.parse().map_err(|_| wrong())?),
        };
        // The well-known ports imply a scheme.
        let scheme = scheme.or(match port {
            Some(443) => Some("https"),
            Some(80) => Some("http"),
            _ => None,
        });
        Ok(Self { scheme, host, port })
    }

    pub(super) fn covers(&self, url: &Url) -> bool {
        self.scheme.is_none_or(|scheme| scheme == url.scheme())
            && url.host_str() == Some(&self.host)
            && (self.port.is_none() || self.port == url.port_or_known_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_the_allow_list_means_one_host_and_one_port_or_all() {
        let covers = |entry: &str, text: &str| {
            Allowed::parse(entry)
                .unwrap()
                .covers(&Url::parse(text).unwrap())
        };
        assert!(covers(
            "hooks.example.com:443",
            "https://HOOKS.example.com/x"
        ));
        assert!(!covers(
            "hooks.example.com:443",
            "http://hooks.example.com/x"
        ));
        assert!(!covers(
            "hooks.example.com:443",
            "https://evil.hooks.example.com/x"
        ));
        assert!(!covers("example.com:443", "https://hooks.example.com/x"));
        assert!(covers("127.0.0.1:*", "http://127.0.0.1:8123/x"));
        assert!(
            covers("127.0.0.1:80", "http://2130706433/"),
            "the same address in other words"
        );
        assert!(covers("[::1]:8000", "http://[::1]:8000/"));
        assert!(
            !covers("hooks.example.com:80", "https://hooks.example.com:80/"),
            "port 80 is http"
        );
        assert!(
            covers("example.com:8443", "http://example.com:8443/")
                && covers("example.com:*", "https://example.com/")
        );
        assert!(
            !covers("https://example.com:*", "http://example.com/")
                && covers("http://a.b:443", "http://a.b:443/")
        );
        for wrong in [
            "",
            "example.com",
            "example.com:",
            "example.com:x",
            "ftp://example.com:80",
            "a/b:80",
            "u@h:80",
        ] {
            assert!(Allowed::parse(wrong).is_err(), "{wrong}");
        }
    }
}
