//! The kubelet's HTTPS port, where the API server asks for logs.

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
/// Connections that have shaken hands and wait to be served.
const WAITING: usize = 64;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Serves with `identity`, and only those who show a certificate that `authority` signed.
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

/// Answers `/containerLogs/NAMESPACE/POD/CONTAINER`, as long as it is polled.
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
                tracing::warn!(%error, "the kubelet's port ended");
            }
        }
    })
}

/// Connections that have been encrypted, for axum.
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

/// Each handshake is a task of its own, so that one who dawdles keeps nobody waiting.
async fn shake_hands(
    listener: tokio::net::TcpListener,
    tls: TlsAcceptor,
    sender: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        let (tls, sender) = (tls.clone(), sender.clone());
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await
            {
                // Refused only when the kubelet ends.
                let _ended = sender.send((stream, peer)).await;
            }
        });
    }
}

/// What may be asked; the API server hands on the parameters of `kubectl logs`.
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

/// The id of the run whose log is asked for: the present one, or the last if none runs.
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

/// The rest of a log that is being followed.
struct Rest {
    entry: Arc<Entry>,
    id: String,
    path: PathBuf,
    offset: u64,
    timestamps: bool,
    pending: Option<String>,
}

impl Rest {
    /// The next lines; none when the run is over and all it wrote has been handed out.
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
            tokio::time::sleep(LOOK_EVERY).await;
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

    /// Whole lines only: a line is written in one go, but read at any moment.
    async fn read(&mut self) -> io::Result<String> {
        let mut file = tokio::fs::File::open(&self.path).await?;
        if file.metadata().await?.len() < self.offset {
            // A long log has been set aside and begun anew.
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
