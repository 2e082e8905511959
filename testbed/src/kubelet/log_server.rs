//! The kubelet's HTTPS port, where the API server requests logs.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ContainerStatus;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::log_file::{self, Wanted};
use super::registry::{Entry, Registry};
use crate::control_plane::Identity;

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Maximum number of connections after their handshake that wait to be served.
const WAITING: usize = 64;
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Returns a TLS acceptor with `identity`. It accepts only clients with a certificate that
/// `authority` signed.
pub(super) fn tls(identity: &Identity, authority: &Path) -> Result<TlsAcceptor> {
    crate::tls::choose_provider();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let chain = vec![CertificateDer::from_pem_file(&identity.certificate)?];
    let key = PrivateKeyDer::from_pem_file(&identity.key)?;
    let server = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key);
    Ok(TlsAcceptor::from(Arc::new(server.context(
        "the kubelet's certificate does not fit its key",
    )?)))
}

/// Answers `/containerLogs/NAMESPACE/POD/CONTAINER` for as long as the returned future is polled.
pub(super) fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    registry: Arc<Registry>,
) -> Result<impl Future<Output = ()> + Send> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let (sender, connections) = mpsc::channel(WAITING);
    let routes = Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
        .route("/healthz", get(async || "ok"))
        .with_state(registry);
    Ok(async move {
        let serving = axum::serve(
            Secured {
                connections,
                address,
            },
            routes,
        );
        tokio::select! {
            () = shake_hands(listener, tls, sender) => {}
            outcome = async { serving.await } => if let Err(error) = outcome {
                tracing::warn!(%error, "log server ended");
            }
        }
    })
}

/// Encrypted connections, in the form that axum accepts.
struct Secured {
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl axum::serve::Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

/// Accepts connections. Each handshake is a task of its own, so that a slow client delays no other.
async fn shake_hands(
    listener: tokio::net::TcpListener,
    tls: TlsAcceptor,
    sender: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(POLL_INTERVAL).await;
            continue;
        };
        let (tls, sender) = (tls.clone(), sender.clone());
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await
            {
                // Sending fails only when the kubelet ends.
                let _ended = sender.send((stream, peer)).await;
            }
        });
    }
}

/// Parameters of `kubectl logs`, which the API server passes on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    tail_lines: Option<usize>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    limit_bytes: Option<usize>,
    #[serde(default)]
    previous: bool,
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    timestamps: bool,
}

impl Asked {
    fn wanted(&self) -> Wanted {
        let ago = self.since_seconds.and_then(|seconds| {
            Timestamp::now()
                .checked_sub(SignedDuration::from_secs(seconds))
                .ok()
        });
        Wanted {
            tail: self.tail_lines,
            since: self.since_time.or(ago),
            limit: self.limit_bytes,
            timestamps: self.timestamps,
        }
    }
}

async fn logs(
    State(registry): State<Arc<Registry>>,
    UrlPath((namespace, pod, container)): UrlPath<(String, String, String)>,
    Query(asked): Query<Asked>,
) -> Response {
    let Some(entry) = registry.find(&namespace, &pod) else {
        return (
            StatusCode::NOT_FOUND,
            format!("pod {pod:?} does not run on this node"),
        )
            .into_response();
    };
    let Some(status) = entry
        .statuses()
        .into_iter()
        .find(|status| status.name == container)
    else {
        return (
            StatusCode::NOT_FOUND,
            format!("container {container:?} is not in pod {pod:?}"),
        )
            .into_response();
    };
    let id = match run_asked_for(&status, asked.previous) {
        Ok(id) => id,
        Err(refusal) => {
            return (StatusCode::BAD_REQUEST, format!("{refusal} in pod {pod:?}")).into_response();
        }
    };
    let path = registry.log_of(&id);
    let wanted = asked.wanted();
    let (text, offset) = log_file::read(&path, &wanted);
    if !asked.follow || wanted.limit.is_some() {
        return text.into_response();
    }
    let rest = Rest {
        entry,
        id,
        path,
        offset,
        timestamps: wanted.timestamps,
        pending: Some(text),
    };
    Body::from_stream(stream::unfold(rest, Rest::next)).into_response()
}

/// Returns the id of the requested run: the current run, or the last one if none runs.
fn run_asked_for(status: &ContainerStatus, previous: bool) -> Result<String, String> {
    let ended = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        state.as_ref()?.terminated.as_ref()?.container_id.clone()
    };
    let waits = status
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref());
    let name = &status.name;
    if previous {
        return ended(&status.last_state)
            .ok_or_else(|| format!("previous terminated container {name:?} not found"));
    }
    match waits {
        None => status
            .container_id
            .clone()
            .ok_or_else(|| format!("container {name:?} has not run")),
        Some(waiting) => ended(&status.last_state).ok_or_else(|| {
            format!(
                "container {name:?} is waiting to start: {}",
                waiting.reason.as_deref().unwrap_or_default()
            )
        }),
    }
}

/// Rest of a log that a client follows.
struct Rest {
    entry: Arc<Entry>,
    id: String,
    path: PathBuf,
    offset: u64,
    timestamps: bool,
    pending: Option<String>,
}

impl Rest {
    /// Returns the next lines. Returns `None` when the run is over and all its lines are delivered.
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if let Some(text) = self.pending.take().filter(|text| !text.is_empty()) {
            return Some((Ok(text.into()), self));
        }
        loop {
            let runs = self.runs();
            let text = self.read().await.unwrap_or_default();
            if !text.is_empty() {
                return Some((Ok(text.into()), self));
            }
            if !runs {
                return None;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn runs(&self) -> bool {
        self.entry.statuses().iter().any(|status| {
            status.container_id.as_ref() == Some(&self.id)
                && status
                    .state
                    .as_ref()
                    .is_some_and(|state| state.running.is_some())
        })
    }

    /// Reads whole lines only. A line is written in one go, but a read may see half of it.
    async fn read(&mut self) -> io::Result<String> {
        let mut file = tokio::fs::File::open(&self.path).await?;
        if file.metadata().await?.len() < self.offset {
            // A long log was renamed, and a new file begun.
            self.offset = 0;
        }
        file.seek(io::SeekFrom::Start(self.offset)).await?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await?;
        bytes.truncate(
            bytes
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |end| end + 1),
        );
        self.offset += bytes.len() as u64;
        let wanted = Wanted {
            timestamps: self.timestamps,
            ..Wanted::default()
        };
        Ok(log_file::select(&String::from_utf8_lossy(&bytes), &wanted))
    }
}
