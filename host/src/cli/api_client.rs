//! The client of a running server's HTTP API.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anomalyzer_common::http_client;
use clap::Args;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;

/// Longest wait for an answer. It is longer than the server takes to examine a plugin.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(200);

/// Address of the server, and the token of the caller.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Address of the server
    #[arg(
        long,
        value_name = "URL",
        env = "ANOMALYZER_URL",
        default_value = "http://127.0.0.1:9000"
    )]
    pub server: String,
    /// File with the token, if the server requires one
    #[arg(long, value_name = "FILE", env = "ANOMALYZER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

/// Error of a request to a server.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server did not answer.
    #[error(
        "no answer from {server}: {reason}; is `serve` running there? --server says where it is"
    )]
    NoAnswer {
        /// Address of the server.
        server: String,
        /// Reason.
        reason: String,
    },
    /// The server refused.
    #[error("{0}")]
    Refused(String),
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}", path = .path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Reason.
        reason: String,
    },
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Client of one group of a server's routes.
pub(super) struct ApiClient {
    client: Client,
    server: String,
    at: &'static str,
    token: Option<String>,
}

impl ApiClient {
    /// Creates a client of the routes below the path `at`.
    pub(super) fn open(args: &ServerArgs, at: &'static str) -> Result<Self, ApiError> {
        let server = args.server.trim_end_matches('/').to_owned();
        let client = http_client::client(REQUEST_TIMEOUT).map_err(|error| ApiError::NoAnswer {
            server: server.clone(),
            reason: http_client::reason(error),
        })?;
        let token = match &args.token_file {
            Some(path) => Some(text_of(path)?.trim().to_owned()),
            None => None,
        };
        Ok(Self {
            client,
            server,
            at,
            token,
        })
    }

    /// Starts a request to `path` below the client's routes.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let slash = if path.is_empty() || path.starts_with('?') {
            ""
        } else {
            "/"
        };
        let request = self
            .client
            .request(method, format!("{}{}{slash}{path}", self.server, self.at));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request with a JSON body, and returns the JSON answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, ApiError> {
        let request = self.request(method, path);
        self.send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    /// Returns the health of the server. A server with a broken part answers too.
    pub(super) async fn health(&self) -> Result<Value, ApiError> {
        let request = self.client.get(format!("{}/health", self.server));
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = async { request.send().await?.json().await };
        answer.await.map_err(|error| ApiError::NoAnswer {
            server: self.server.clone(),
            reason: http_client::reason(error),
        })
    }

    /// Sends a request, and returns the JSON answer.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Value, ApiError> {
        let no_answer = |error| ApiError::NoAnswer {
            server: self.server.clone(),
            reason: http_client::reason(error),
        };
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        let text = answer.text().await.map_err(no_answer)?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let part = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Err(ApiError::Refused(match part("detail").as_str() {
            "" => format!("{} answered {status}", self.server),
            detail => format!("{detail}; {}", part("remedy")),
        }))
    }
}

/// Reads a text file.
pub(super) fn text_of(path: &Path) -> Result<String, ApiError> {
    std::fs::read_to_string(path).map_err(|error| ApiError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
