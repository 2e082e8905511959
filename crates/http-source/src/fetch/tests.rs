use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use async_compression::tokio::write::{GzipEncoder, ZlibEncoder};
use reqwest::header::ACCEPT;
use tokio::io::AsyncWriteExt;

use super::*;

const LIMIT: usize = 1 << 20;

/// Serves one connection after another: reads the head of a request, writes `answer`, and closes.
/// Returns the address, and the head of the first request.
fn server(answer: Vec<u8>) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let (sender, heads) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _gone = sender.send(head(&mut stream));
            // A client that has enough of a large answer closes the connection.
            let _closed = stream.write_all(&answer);
        }
    });
    (url, heads)
}

fn head(stream: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

async fn fetch(url: &str, access: AccessConfig) -> Result<Answer, SourceError> {
    let timeout = Duration::from_secs(20);
    let client = SourceClient::new(access, timeout).unwrap();
    let bounds = Bounds {
        timeout,
        body_limit: LIMIT,
    };
    client.page(url, (ACCEPT, "*/*"), "metrics", bounds).await
}

async fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(body).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

async fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new());
    encoder.write_all(body).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

/// Builds an answer. With `length`, its head states the length of the body.
fn answer(headers: &str, body: &[u8], length: bool) -> Vec<u8> {
    let length = match length {
        true => format!("content-length: {}\r\n", body.len()),
        false => String::new(),
    };
    let mut answer = format!("HTTP/1.1 200 OK\r\n{headers}{length}\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn chunked(body: &[u8], last: &str) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", body.len()).into_bytes();
    chunk.extend_from_slice(body);
    chunk.extend_from_slice(b"\r\n");
    chunk.extend_from_slice(last.as_bytes());
    answer("transfer-encoding: chunked\r\n", &chunk, false)
}

#[tokio::test]
async fn every_encoding_is_read_within_the_limit_and_a_cut_answer_is_told_from_a_whole_one() {
    let body = b"m 3\n";
    let (packed, other) = (gzip(body).await, gzip(b"n 4\n").await);
    let bomb = gzip(&vec![b'#'; 100 << 20]).await;
    assert!(bomb.len() < LIMIT);
    let gzipped = "content-encoding: gzip\r\n";
    let cut = &packed[..packed.len() - 5];
    for (name, answer, outcome) in [
        ("length", answer("", body, true), "m 3 whole"),
        ("chunks", chunked(body, "0\r\n\r\n"), "m 3 whole"),
        ("end of the connection", answer("", body, false), "m 3"),
        ("gzip", answer(gzipped, &packed, true), "m 3 whole"),
        (
            "gzip, end of the connection",
            answer(gzipped, &packed, false),
            "m 3 whole",
        ),
        (
            "two members",
            answer(gzipped, &[packed.clone(), other].concat(), true),
            "m 3 n 4 whole",
        ),
        (
            "x-gzip",
            answer("Content-Encoding: X-GZIP\r\n", &packed, true),
            "m 3 whole",
        ),
        (
            "deflate",
            answer("content-encoding: deflate\r\n", &zlib(body).await, true),
            "m 3 whole",
        ),
        (
            "identity",
            answer("content-encoding: identity\r\n", body, true),
            "m 3 whole",
        ),
        ("cut gzip", answer(gzipped, cut, true), "cut_short"),
        ("no gzip", answer(gzipped, body, true), "cut_short"),
        (
            "cut length",
            answer("content-length: 9\r\n", body, false),
            "cut_short",
        ),
        ("cut chunks", chunked(body, ""), "cut_short"),
        ("bomb", answer(gzipped, &bomb, true), "too_large"),
        (
            "large",
            answer("", &vec![b'#'; LIMIT + 1], true),
            "too_large",
        ),
        (
            "br",
            answer("content-encoding: br\r\n", body, true),
            "malformed",
        ),
        (
            "several",
            answer("content-encoding: gzip, br\r\n", body, true),
            "malformed",
        ),
    ] {
        let (url, heads) = server(answer);
        let read = match fetch(&url, AccessConfig::default()).await {
            Ok(Answer { body, whole, .. }) => {
                let text = String::from_utf8(body).unwrap().replace('\n', " ");
                format!("{text}{}", if whole { "whole" } else { "" })
            }
            Err(error) => {
                assert!(error.to_string().contains(&url), "{name}: {error}");
                error.kind().to_owned()
            }
        };
        assert_eq!(read.trim(), outcome, "{name}");
        assert!(heads.recv().unwrap().contains("accept-encoding: gzip\r\n"));
    }
}

#[tokio::test]
async fn each_failure_names_the_address_without_its_secrets() {
    for (url, shown) in [
        ("http://user:PW@127.0.0.1:port/metrics?key=KEY", "…"),
        (
            "http://127.0.0.1:port/metrics?key=KEY",
            "http://127.0.0.1:port/…",
        ),
        (
            "http://user:PW@127.0.0.1:1/metrics?key=KEY",
            "http://127.0.0.1:1/metrics?…",
        ),
        ("user:PW@127.0.0.1:1/metrics?key=KEY", "…"),
    ] {
        let Err(error) = fetch(url, AccessConfig::default()).await else {
            panic!("{url} answered");
        };
        let text = error.to_string();
        assert!(text.contains(shown), "{text}");
        assert!(!text.contains("PW") && !text.contains("KEY"), "{text}");
    }
}

#[tokio::test]
async fn a_server_with_a_private_authority_is_trusted_if_the_authority_is_named() {
    anomalyzer_common::http_client::install_tls_provider();
    let names = vec!["127.0.0.1".to_owned()];
    let own = rcgen::generate_simple_self_signed(names).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/metrics", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            if head(&mut stream).starts_with("GET") {
                stream.write_all(&answer("", b"m 3\n", true)).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        }
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), own.cert.pem()).unwrap();
    let access = AccessConfig {
        ca_file: Some(file.path().to_owned()),
        ..AccessConfig::default()
    };
    assert_eq!(fetch(&url, access).await.unwrap().body, b"m 3\n");
    let refused = fetch(&url, AccessConfig::default()).await;
    assert_eq!(refused.err().map(|error| error.kind()), Some("unreachable"));
}

#[tokio::test]
async fn a_body_that_is_compressed_without_a_header_is_named() {
    let body = gzip(b"m 3\n").await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let (url, _heads) = server([head.as_bytes(), &body].concat());
    let error = fetch(&url, AccessConfig::default()).await.unwrap_err();
    assert!(error.to_string().contains("`Content-Encoding`"), "{error}");
}
