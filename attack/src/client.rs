//! HTTP clients of the attacker.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for an answer.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// A client with the token of one role, or with none.
#[derive(Clone)]
pub struct Client {
    client: reqwest::Client,
    port: u16,
    token: Option<String>,
}

impl Client {
    pub fn new(port: u16, token: Option<String>) -> Self {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap_or_default();
        Self {
            client,
            port,
            token,
        }
    }

    /// Starts a request.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let address = format!("http://127.0.0.1:{}{path}", self.port);
        let request = self.client.request(method, address);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a GET request. Returns the status and the text of the answer.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, String)> {
        let answer = self.request(Method::GET, path).send().await?;
        let status = answer.status();
        Ok((status, answer.text().await?))
    }

    /// Returns the JSON of a page.
    pub async fn json(&self, path: &str) -> Result<Value> {
        let (_, text) = self.get(path).await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Sends a request with a JSON body. Returns the status and the JSON of the answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Value)> {
        let answer = self.request(method, path).json(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// Uploads a plugin. Returns the status and the JSON of the answer.
    pub async fn upload(&self, bytes: Vec<u8>, query: &str) -> Result<(StatusCode, Value)> {
        let answer = self
            .request(Method::POST, &format!("/api/v1/plugins{query}"))
            .header("content-type", "application/wasm")
            .timeout(Duration::from_secs(120))
            .body(bytes)
            .send()
            .await?;
        let status = answer.status();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// Requests an action for the process group, and waits for its end. Returns the decision.
    pub async fn act(&self, action: &str, reason: &str) -> Result<Value> {
        let body = serde_json::json!({ "target": "default//Process/g", "reason": reason });
        let path = format!("/action/{action}?wait=30s");
        let (status, value) = self.send(Method::POST, &path, &body).await?;
        ensure!(status.is_success(), "{action} answered {status}: {value}");
        Ok(value)
    }
}

/// Sends raw bytes, and returns everything that the server answers within `time_limit`.
pub async fn raw(port: u16, bytes: &[u8], time_limit: Duration) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let talk = async {
        // The server may close the connection while the client still writes.
        let write = async {
            let _ = writer.write_all(bytes).await;
        };
        let read = async {
            let mut buffer = [0; 16 << 10];
            while let Ok(count) = reader.read(&mut buffer).await {
                if count == 0 {
                    break;
                }
                answer.extend_from_slice(&buffer[..count]);
            }
        };
        futures::join!(write, read);
    };
    let _ = tokio::time::timeout(time_limit, talk).await;
    Ok(answer)
}

/// Returns the status codes of the answers in a stream of bytes.
pub fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    text.split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|part| part.get(..3)?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_a_connection_is_counted() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 400 Bad\r\n\r\n";
        assert_eq!(statuses(answer), [200, 400]);
        assert_eq!(statuses(b"nothing"), [] as [u16; 0]);
    }
}
