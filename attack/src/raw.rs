//! Variants of tokens, and raw HTTP.

use std::time::Duration;

use anyhow::Result;

use crate::Arguments;
use crate::client::{raw, statuses};
use crate::service::{Options, Service};
use crate::tally::Tally;

const TIME_LIMIT: Duration = Duration::from_secs(3);
const TOKEN: &str = "viewer-viewer-viewer";

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut service = Service::start(arguments, Options::default()).await?;
    for header in bad_tokens() {
        let request = format!(
            "GET /api/v1/signals HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\nConnection: close\r\n\r\n"
        );
        let found = statuses(&raw(service.port, request.as_bytes(), TIME_LIMIT).await?);
        let held = !found.is_empty() && found.iter().all(|status| [400, 401].contains(status));
        tally.attempt(held, || format!("{header:?} answered {found:?}"));
    }
    for (name, request, most) in requests() {
        let answer = raw(service.port, &request, TIME_LIMIT).await?;
        let found = statuses(&answer);
        // A smuggled request would be one successful answer more: it needs no token.
        let good = found.iter().filter(|status| **status < 300).count();
        let held = good <= most && !found.iter().any(|status| *status >= 500);
        tally.attempt(held, || format!("{name} answered {found:?}"));
        let trouble = service.trouble().await;
        tally.check(trouble.is_none(), || {
            format!("after {name}: {}", trouble.unwrap_or_default())
        });
        service.revive().await?;
    }
    Ok(tally)
}

/// Returns headers that name no known token.
fn bad_tokens() -> Vec<String> {
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    vec![
        "X-Nothing: 1".to_owned(),
        bearer(""),
        bearer(" "),
        bearer("viewer"),
        bearer(&TOKEN.to_uppercase()),
        bearer(&TOKEN[..TOKEN.len() - 1]),
        bearer(&format!("{TOKEN}x")),
        bearer(&format!("{TOKEN}\u{0}")),
        bearer(&format!("{TOKEN},{TOKEN}")),
        bearer(&format!("\"{TOKEN}\"")),
        bearer(&"a".repeat(6000)),
        format!("Authorization: {TOKEN}"),
        format!("Authorization: Basic {TOKEN}"),
        format!("Authorization: Token {TOKEN}"),
        format!("Authorization: Bearer\t{TOKEN}x"),
        format!("Proxy-Authorization: Bearer {TOKEN}"),
        format!("Cookie: token={TOKEN}"),
        "Authorization: Bearer \u{ff}\u{fe}".to_owned(),
    ]
}

/// Returns raw requests, each with the most successful answers that are right.
fn requests() -> Vec<(&'static str, Vec<u8>, usize)> {
    let head =
        |rest: &str| format!("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n{rest}").into_bytes();
    let post = |rest: &str| {
        format!(
            "POST /send-test-metric HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             Authorization: Bearer {TOKEN}\r\n{rest}"
        )
        .into_bytes()
    };
    let smuggled = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    vec![
        ("an empty request", b"\r\n\r\n\r\n".to_vec(), 0),
        ("zero bytes", vec![0; 10_000], 0),
        ("binary", (0..=255).cycle().take(20_000).collect(), 0),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 0),
        ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 0),
        ("HTTP/0.9", b"GET /health\r\n".to_vec(), 0),
        ("an unknown version", b"GET /health HTTP/9.9\r\n\r\n".to_vec(), 0),
        ("no host", b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(), 1),
        ("two hosts", head("Host: example.com\r\nConnection: close\r\n\r\n"), 1),
        ("a folded header", head("X-A: 1\r\n  2\r\nConnection: close\r\n\r\n"), 1),
        ("a bare line feed", b"GET /health HTTP/1.1\nHost: 127.0.0.1\n\n".to_vec(), 1),
        ("a zero byte in a header", head("X-A: \0\r\n\r\n"), 0),
        ("a space before the colon", head("Content-Length : 5\r\n\r\nhello"), 0),
        ("a header of 1 MB", head(&format!("X-A: {}\r\n\r\n", "a".repeat(1 << 20))), 0),
        ("100,000 headers", head(&format!("{}\r\n", "X-A: 1\r\n".repeat(100_000))), 0),
        ("a path of 100 kB", format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)).into(), 0),
        (
            "a length and chunks",
            post(&format!(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            )),
            0,
        ),
        (
            "two lengths",
            post(&format!("Content-Length: 0\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len())),
            0,
        ),
        (
            "a signed length",
            post(&format!("Content-Length: +0\r\n\r\n{smuggled}")),
            0,
        ),
        (
            "chunks in other words",
            post(&format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}")),
            0,
        ),
        (
            "a chunk that is too long",
            post("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx"),
            0,
        ),
        (
            "a chunk extension of 1 MB",
            post(&format!("Transfer-Encoding: chunked\r\n\r\n1;{}\r\nx\r\n", "e".repeat(1 << 20))),
            0,
        ),
        ("a negative length", post("Content-Length: -1\r\n\r\n"), 0),
        ("a length without a body", post("Content-Length: 99999999999999999999\r\n\r\n"), 0),
        (
            "an absolute path",
            b"GET http://example.com/api/v1/signals HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n".to_vec(),
            0,
        ),
        ("CONNECT", b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n".to_vec(), 0),
        ("TRACE", b"TRACE /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".to_vec(), 0),
        (
            "an upgrade",
            head("Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"),
            1,
        ),
        ("an expectation", post("Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"), 0),
        (
            "an encoded path",
            b"GET /api%2fv1%2fsignals HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".to_vec(),
            0,
        ),
        (
            "a path with dots",
            b"GET /health/../api/v1/signals HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".to_vec(),
            0,
        ),
        (
            "two slashes",
            b"GET //api//v1//signals HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".to_vec(),
            0,
        ),
        ("5,000 pipelined requests", head("\r\n").repeat(5_000), 5_000),
        ("a cut head", head("X-A: "), 0),
    ]
}
