//! Uploads: headers, slow bodies, memory of bodies, and room on the disk.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::{Method, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::Arguments;
use crate::components::renamed;
use crate::service::{Options, ROLES, Service, until};
use crate::tally::Tally;

/// Most resident memory, in MiB, while bodies of 32 MiB arrive on 60 connections.
const MAX_RESIDENT: u64 = 400;
/// Most bytes that refused uploads may leave on the disk, in MiB.
const MAX_LEFT: u64 = 8;
/// Most bytes that one uploader may occupy, in MiB.
const MAX_UPLOADED: u64 = 300;

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut service = Service::start(arguments, Options::default()).await?;
    headers(&service, &mut tally, arguments).await?;
    memory(&service, &mut tally).await?;
    slow(&service, &mut tally, arguments).await?;
    let trouble = service.trouble().await;
    tally.check(trouble.is_none(), || trouble.unwrap_or_default());
    Ok(tally)
}

/// Uploads with odd headers and forms.
async fn headers(service: &Service, tally: &mut Tally, arguments: &Arguments) -> Result<()> {
    let bytes = std::fs::read(arguments.plugins.join("drop.wasm"))?;
    let client = service.client("uploader");
    let cases: [(&str, &str); 14] = [
        ("content-type", "text/html"),
        ("content-type", "multipart/form-data"),
        ("content-type", "multipart/form-data; boundary="),
        ("content-type", "multipart/form-data; boundary=x"),
        ("content-encoding", "gzip"),
        ("content-encoding", "br"),
        ("plugin-signature", "x"),
        ("plugin-signature", "////"),
        ("plugin-signature", ""),
        ("plugin-signature", "dW50cnVzdGVkIGNvbW1lbnQ6"),
        ("content-range", "bytes 0-1/2"),
        ("if-match", "*"),
        ("expect", "nothing"),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    for (name, value) in cases {
        for body in [Vec::new(), bytes[..100].to_vec(), vec![0; 1 << 20]] {
            let request = client
                .request(Method::POST, "/api/v1/plugins")
                .header(name, value)
                .body(body);
            // The server may refuse, and close the connection, before the body has arrived.
            let held = match request.send().await {
                Ok(answer) => answer.status().is_client_error(),
                Err(error) => error.is_request(),
            };
            tally.attempt(held, || format!("{name}: {value} is taken"));
        }
    }
    Ok(())
}

/// Sends bodies of nearly 32 MiB on 60 connections that never end.
async fn memory(service: &Service, tally: &mut Tally) -> Result<()> {
    let before = service.resident();
    let mut most = before;
    let piece = vec![b'a'; 1 << 20];
    let mut streams = Vec::new();
    for _ in 0..60 {
        let mut stream = TcpStream::connect(("127.0.0.1", service.port)).await?;
        let head = head("uploader", (32 << 20) - 1);
        stream.write_all(head.as_bytes()).await?;
        streams.push(stream);
        tally.attempts += 1;
    }
    let begun = Instant::now();
    for _ in 0..31 {
        for stream in &mut streams {
            let write = stream.write_all(&piece);
            let _ = tokio::time::timeout(Duration::from_millis(20), write).await;
        }
        most = most.max(service.resident());
        if begun.elapsed() > Duration::from_secs(40) {
            break;
        }
    }
    tally.note(
        "MiB before and while 60 bodies arrive",
        &format!("{before}, {most}"),
    );
    tally.check(most < MAX_RESIDENT, || format!("{most} MiB are resident"));
    Ok(())
}

/// Holds 200 uploads open, and uploads as an admin meanwhile.
async fn slow(service: &Service, tally: &mut Tally, arguments: &Arguments) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(("127.0.0.1", service.port)).await?;
        stream.write_all(head("uploader", 1000).as_bytes()).await?;
        stream.write_all(b"\0asm").await?;
        streams.push(stream);
        tally.attempts += 1;
    }
    let bytes = std::fs::read(arguments.plugins.join("drop.wasm"))?;
    let begun = Instant::now();
    let answer = service.client("admin").upload(bytes, "").await;
    let held = answer.as_ref().is_ok_and(|(status, _)| status.is_success());
    tally.check(held && begun.elapsed() < Duration::from_secs(60), || {
        let after = begun.elapsed();
        let answer = answer.map(|(status, _)| status);
        format!("an admin's upload beside 200 slow ones: {answer:?} after {after:?}")
    });
    Ok(())
}

fn head(role: &str, length: usize) -> String {
    let token = ROLES.iter().find(|(name, _)| *name == role);
    let token = token.map_or("", |(_, token)| token);
    format!(
        "POST /api/v1/plugins HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/wasm\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Fills the disk with refused uploads, and with many plugins of one uploader.
pub async fn disk(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let service = Service::start(arguments, Options::default()).await?;
    let client = service.client("uploader");
    let good = std::fs::read(arguments.plugins.join("novelty.wasm"))?;
    let before = room(service.folder());
    for number in 0..12 {
        // A name that the host refuses, so that all of the work is done for nothing.
        let bytes = renamed(&good, &format!("BAD{number:04}"));
        let (status, _) = client.upload(bytes, "").await?;
        tally.attempt(status.is_client_error(), || format!("a bad name: {status}"));
    }
    let left = room(service.folder()).saturating_sub(before);
    tally.note("MiB that 12 refused uploads left", &left);
    tally.check(left <= MAX_LEFT, || {
        format!("refused uploads left {left} MiB")
    });
    let mut taken = 0;
    for number in 0..120 {
        let bytes = renamed(&good, &format!("d{number:06}"));
        let (status, _) = client.upload(bytes, "").await?;
        let held = status.is_success()
            || status.is_client_error()
            || status == StatusCode::SERVICE_UNAVAILABLE
            || status == StatusCode::INSUFFICIENT_STORAGE;
        tally.attempt(held, || format!("plugin {number}: {status}"));
        taken += u32::from(status.is_success());
    }
    let room = room(service.folder()).saturating_sub(before);
    tally.note("plugins of one uploader that were taken", &taken);
    tally.note("MiB that they occupy", &room);
    tally.check((1..120).contains(&taken), || {
        format!("the number of plugins is not bounded, or none is taken: {taken}")
    });
    tally.check(room <= MAX_UPLOADED, || {
        format!("one uploader occupies {room} MiB")
    });
    let fine = until(Duration::from_secs(10), async || {
        service
            .client("admin")
            .act("no-action", "a test")
            .await
            .is_ok()
    })
    .await;
    tally.check(fine, || "no action after the uploads".to_owned());
    Ok(tally)
}

/// Returns the bytes in a folder, in MiB.
fn room(folder: &Path) -> u64 {
    fn bytes(folder: &Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return 0;
        };
        entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let kind = entry.file_type().ok()?;
                Some(if kind.is_dir() {
                    bytes(&entry.path())
                } else {
                    entry.metadata().ok()?.len()
                })
            })
            .sum()
    }
    bytes(folder) >> 20
}
