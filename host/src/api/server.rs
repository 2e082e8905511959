//! The HTTP server: accepts connections, serves them, and drains them at the shutdown.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::extract::Peer;
use super::write_timeout::WriteTimeout;

/// Connections that may be open at the same time. Further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;

/// Longest time until the head of the next request on a connection has arrived.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection is closed when its client reads nothing of an answer for this time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that requests under way have to finish after the shutdown began.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until the shutdown, then finishes the requests under way. A request that does not end in
/// time is cut off.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // No file descriptors are left, or the client was gone already. The next connection
                // may succeed.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let router = match stream.peer_addr() {
            Ok(address) => router.clone().layer(Extension(Peer(address))),
            Err(_) => router.clone(),
        };
        let shutdown = shutdown.clone();
        connections.spawn(async move {
            serve_connection(stream, router, shutdown).await;
            drop(permit);
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(DRAIN_TIMEOUT, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    if drained.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "cutting off requests that did not end in time"
        );
    }
    Ok(())
}

/// Waits for a permit, then accepts a connection.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

/// Serves one connection until it ends.
async fn serve_connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    let stream = TokioIo::new(WriteTimeout::new(stream, WRITE_TIMEOUT));
    let connection = builder.serve_connection(stream, TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended with an error");
    }
}
