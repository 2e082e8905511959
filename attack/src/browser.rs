//! Requests that a web page in a browser on this machine can make.

use std::time::Duration;

use anyhow::Result;

use crate::Arguments;
use crate::client::{raw, statuses};
use crate::service::{Options, Service};
use crate::tally::Tally;

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let options = Options {
        tokens: false,
        ..Options::default()
    };
    let service = Service::start(arguments, options).await?;
    let local = format!("127.0.0.1:{}", service.port);
    let foreign_origins = [
        "Origin: http://example.com",
        "Origin: null",
        "Origin: http://127.0.0.1:1",
        "Origin: https://127.0.0.1",
        "Origin: http://127.0.0.1.example.com",
        "Origin: http://localhost.example.com",
        "Origin: file://",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ];
    for (method, path) in [
        ("PUT", "/api/v1/kill-switch"),
        ("POST", "/send-test-metric"),
    ] {
        for header in foreign_origins {
            for kind in ["application/json", "text/plain"] {
                let body = if method == "PUT" {
                    "{\"why\":\"x\"}"
                } else {
                    "{}"
                };
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nHost: {local}\r\n{header}\r\nContent-Type: {kind}\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                refused(&service, &mut tally, &request).await?;
            }
        }
    }
    // A form, or an old browser that sends no Origin.
    for kind in [
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
        "Content-Type: text/plain\r\n",
        "",
    ] {
        let request = format!(
            "POST /send-test-metric HTTP/1.1\r\nHost: {local}\r\nReferer: http://example.com/\r\n{kind}\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        refused(&service, &mut tally, &request).await?;
    }
    for host in [
        "example.com",
        "127.0.0.1.example.com",
        "localhost.example.com",
        "10.0.0.1",
        "[::ffff:10.0.0.1]",
        "169.254.169.254",
    ] {
        let request = format!(
            "GET /api/v1/signals HTTP/1.1\r\nHost: {host}:{}\r\nConnection: close\r\n\r\n",
            service.port
        );
        refused(&service, &mut tally, &request).await?;
    }
    Ok(tally)
}

async fn refused(service: &Service, tally: &mut Tally, request: &str) -> Result<()> {
    let answer = raw(service.port, request.as_bytes(), Duration::from_secs(5)).await?;
    let found = statuses(&answer);
    let held = !found.is_empty() && found.iter().all(|status| (400..500).contains(status));
    tally.attempt(held, || format!("{request:?} answered {found:?}"));
    Ok(())
}
