//! Checks against requests that a browser sends for the page of another site.
//!
//! A browser states in several headers which page made it send a request. The page cannot change
//! these headers. A request is refused if any of them names another site, because old browsers,
//! proxies and settings for privacy leave some of them out.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderName, StatusCode, Uri, header};

use super::problem::Problem;

/// Header in which a browser compares the site of the page with the site of the request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Content types of forms that no request of this API has. A browser sends them without asking
/// this service first (a "simple" request in the terms of CORS).
const FORM_TYPES: [&str; 2] = ["text/plain", "application/x-www-form-urlencoded"];

/// Refuses a foreign name in the header `Host`. A web page can make its own name point to 127.0.0.1
/// (DNS rebinding), but it cannot change the `Host` that the browser sends.
pub(super) fn check_host(request: &Request) -> Result<(), Problem> {
    let address = request.uri().authority().map(Authority::as_str);
    let foreign = values(request, &header::HOST)
        .chain(address)
        .find(|host| !is_loopback(host));
    foreign.map_or(Ok(()), |host| {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "foreign-host",
            "This name does not mean this machine",
            format!("the header Host is `{host}`, and the service listens on loopback"),
            "ask for localhost or 127.0.0.1",
        ))
    })
}

/// Refuses a foreign `Origin`. A web page of another site can make a browser send a POST, but the
/// browser then names the site in this header.
pub(super) fn check_origin(request: &Request) -> Result<(), Problem> {
    let foreign = values(request, &header::ORIGIN).find(|origin| {
        let site = origin.split_once("://").map(|(_, site)| site);
        site.is_none() || site != host(request)
    });
    refuse(foreign.map(|origin| format!("the header Origin is `{origin}`")))
}

/// Refuses a request that a browser could have sent for the page of another site, although it has
/// no `Origin`.
pub(super) fn check_browser(request: &Request) -> Result<(), Problem> {
    let site =
        values(request, &SEC_FETCH_SITE).find(|site| !matches!(*site, "same-origin" | "none"));
    refuse(site.map(|site| format!("the header Sec-Fetch-Site is `{site}`")))?;
    let page = values(request, &header::REFERER).find(|page| {
        let page = page.parse::<Uri>().ok();
        let site = page
            .as_ref()
            .and_then(Uri::authority)
            .map(Authority::as_str);
        site.is_none() || site != host(request)
    });
    refuse(page.map(|page| format!("the header Referer is `{page}`")))?;
    let is_browser = values(request, &header::USER_AGENT)
        .any(|agent| agent.contains("Mozilla/") || agent.contains("Opera/"));
    let silent = is_browser && !request.headers().contains_key(header::ORIGIN);
    refuse(silent.then(|| "a browser sent it without the header Origin".to_owned()))?;
    // An upload may be a form: it names its parts, and a browser sends the header Origin with it.
    let kind = values(request, &header::CONTENT_TYPE)
        .map(|kind| kind.split([';', ',']).next().unwrap_or_default().trim())
        .find(|kind| {
            FORM_TYPES
                .iter()
                .any(|form| kind.eq_ignore_ascii_case(form))
        });
    kind.map_or(Ok(()), |kind| {
        let detail = format!(
            "Expected request with `Content-Type: application/json`, not with `{kind}` of a form"
        );
        Err(Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE).with_detail(detail))
    })
}

/// Returns the name by which the client calls this service.
fn host(request: &Request) -> Option<&str> {
    let address = request.uri().authority().map(Authority::as_str);
    values(request, &header::HOST).next().or(address)
}

/// Returns all values of a header. A value that is no text is shown as such, and so equals nothing.
fn values<'a>(request: &'a Request, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = request.headers().get_all(name).into_iter();
    values.map(|value| value.to_str().unwrap_or("unreadable"))
}

/// Returns true if `host` names this machine, with or without a port.
fn is_loopback(host: &str) -> bool {
    host.parse::<Authority>().is_ok_and(|authority| {
        let name = authority.host();
        let name = name.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || name
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

/// Returns an error if there is a sign of a foreign page.
fn refuse(sign: Option<String>) -> Result<(), Problem> {
    sign.map_or(Ok(()), |sign| {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "foreign-origin",
            "Pages of other sites may not do that",
            sign,
            "send the request without a browser and as application/json, or from a page of this service",
        ))
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::HeaderValue;

    use super::*;

    /// Returns true if a service without tokens accepts a change with these headers.
    fn accepts(headers: &[(&str, &str)]) -> bool {
        let mut request = Request::new(Body::empty());
        let host = ("host", "127.0.0.1:9000");
        let host = headers
            .iter()
            .all(|(name, _)| *name != "host")
            .then_some(&host);
        for (name, value) in host.into_iter().chain(headers) {
            let name: HeaderName = name.parse().unwrap();
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.headers_mut().append(name, value);
        }
        check_host(&request)
            .and_then(|()| check_origin(&request))
            .and_then(|()| check_browser(&request))
            .is_ok()
    }

    const OWN: (&str, &str) = ("origin", "http://127.0.0.1:9000");
    const FIREFOX: (&str, &str) = (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/55.0",
    );
    const JSON: (&str, &str) = ("content-type", "application/json");
    const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=x");

    #[test]
    fn programs_and_own_pages_may_make_changes() {
        for headers in [
            &[][..],
            &[("user-agent", "curl/8")],
            &[JSON],
            &[("content-type", "application/wasm")],
            &[FORM],
            &[OWN, FIREFOX, ("sec-fetch-site", "same-origin")],
            &[
                OWN,
                FIREFOX,
                ("referer", "http://127.0.0.1:9000/health?a=b"),
            ],
            &[("referer", "http://127.0.0.1:9000")],
            &[("sec-fetch-site", "none")],
            &[("host", "localhost")],
            &[
                ("host", "LOCALHOST:9000"),
                ("origin", "http://LOCALHOST:9000"),
            ],
            &[("host", "[::1]:9000"), ("referer", "http://[::1]:9000/")],
            &[("host", "127.8.8.8")],
        ] {
            assert!(accepts(headers), "{headers:?}");
        }
    }

    #[test]
    fn any_sign_of_a_foreign_page_is_enough_to_refuse_a_change() {
        let signs = [
            // Origin: another name, port, scheme or none at all.
            ("origin", "http://evil.example"),
            ("origin", "http://evil.example:9000"),
            ("origin", "http://127.0.0.1:1"),
            ("origin", "http://127.0.0.1"),
            ("origin", "http://localhost:9000"),
            ("origin", "http://127.0.0.1:9000.evil.example"),
            ("origin", "null"),
            ("origin", ""),
            ("origin", "file://"),
            ("origin", "127.0.0.1:9000"),
            ("origin", "chrome-extension://abcdefgh"),
            ("origin", "http://\u{e9}vil.example"),
            // Referer: the whole address, or only its site (Referrer-Policy: origin).
            ("referer", "http://evil.example/"),
            ("referer", "http://evil.example"),
            ("referer", "https://evil.example/http://127.0.0.1:9000/"),
            ("referer", "http://127.0.0.1:9000@evil.example/"),
            ("referer", "http://127.0.0.1:9000.evil.example/"),
            ("referer", "http://127.0.0.1:1/"),
            ("referer", "http://localhost:9000/"),
            ("referer", "about:blank"),
            ("referer", "/health"),
            ("referer", ""),
            ("referer", "http://\u{e9}vil.example/"),
            // Sec-Fetch-Site: everything but this site and the person.
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "unknown"),
            ("sec-fetch-site", ""),
            // Forms.
            ("content-type", "text/plain"),
            ("content-type", "Text/Plain; charset=utf-8"),
            ("content-type", " text/plain ;a=b"),
            ("content-type", "text/plain, application/json"),
            ("content-type", "application/x-www-form-urlencoded"),
            // Browsers that leave Origin out.
            FIREFOX,
            (
                "user-agent",
                "Opera/9.80 (X11; Linux i686) Presto/2.12 Version/12.16",
            ),
            // A name of the page that points to this machine (DNS rebinding).
            ("host", "evil.example"),
            ("host", "evil.example:9000"),
            ("host", "127.0.0.1.evil.example"),
            ("host", "localhost.evil.example:9000"),
            ("host", "127.0.0.1@evil.example"),
            ("host", "10.0.0.1"),
            ("host", "0.0.0.0:9000"),
            ("host", "[::ffff:10.0.0.1]:9000"),
            ("host", "169.254.169.254"),
            ("host", "\u{e9}vil.example"),
            ("host", ""),
        ];
        for sign in signs {
            for beside in [&[][..], &[("accept", "*/*")], &[("user-agent", "curl/8")]] {
                let headers = [&[sign][..], beside].concat();
                assert!(!accepts(&headers), "{headers:?}");
            }
            // A second, harmless header of that name hides nothing.
            let harmless = match sign.0 {
                "origin" => OWN,
                "referer" => ("referer", "http://127.0.0.1:9000/"),
                "sec-fetch-site" => ("sec-fetch-site", "same-origin"),
                "host" => ("host", "127.0.0.1:9000"),
                _ => JSON,
            };
            assert!(!accepts(&[harmless, sign]), "{sign:?} after {harmless:?}");
            assert!(!accepts(&[sign, harmless]), "{sign:?} before {harmless:?}");
            // Other kinds of content make a foreign page no better.
            if sign.0 != "content-type" {
                assert!(!accepts(&[sign, JSON]), "{sign:?} with JSON");
                assert!(!accepts(&[sign, FORM]), "{sign:?} with a form");
            }
        }
    }
}
