//! A web server without any check of requests.

use std::sync::Arc;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::api::Api;

/// Number of connections at once.
const CONNECTIONS: usize = 512;

/// A request.
pub struct Request {
    /// Method and path.
    pub line: String,
    pub head: String,
    pub body: Vec<u8>,
}

/// Answers requests for ever.
pub async fn serve(address: &str, api: Api) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    let (api, places) = (Arc::new(api), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        // Fault for `clients`: half a head occupies a place for ever, and a probe waits for one.
        let place = places.clone().acquire_owned().await?;
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let api = api.clone();
        tokio::spawn(async move {
            let _ = reply(stream, &api).await;
            drop(place);
        });
    }
}

async fn reply(mut stream: TcpStream, api: &Api) -> Result<()> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    let body = bytes.split_off(head);
    let head = String::from_utf8_lossy(&bytes).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
        .unwrap_or(0);
    let mut request = Request {
        line: head.lines().next().unwrap_or_default().to_owned(),
        head,
        body,
    };
    // Fault for `uploads`: the body is held in memory, however many of them arrive.
    while request.body.len() < length {
        if stream.read_buf(&mut request.body).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = api.answer(&request).await;
    let text = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}
