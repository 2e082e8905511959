//! The HTTP server: accepts connections, serves them, and drains them at the shutdown.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection_limits::{Limits, Places, admit};
use super::extract::Peer;
use super::write_timeout::WriteTimeout;
use anomalyzer_common::metrics::Metrics;

/// A connection is closed when its client reads nothing of an answer for this time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that requests under way have to finish after the shutdown began.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until the shutdown, then finishes the requests under way. A request that does not end in
/// time is cut off. Counts refused connections and requests in `metrics`.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let places = Places::new(Limits::default(), &metrics);
    serve_within(listener, router, shutdown, places).await
}

async fn serve_within(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    places: Arc<Places>,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // No file descriptors are left, or the client was gone already. The next connection
                // may succeed.
                tracing::warn!(%error, "cannot accept a connection");
                places.refusals.not_accepted.increment();
                places.close_one();
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let head_timeout = places.head_timeout();
        let place = Arc::new(places.connect(address.ip()));
        let number = place.number;
        let router = router
            .clone()
            .layer(Extension(Peer(address)))
            .layer(from_fn_with_state(Arc::clone(&place), admit));
        let shutdown = shutdown.clone();
        let task = connections.spawn(async move {
            serve_connection(stream, router, head_timeout, shutdown).await;
            drop(place);
        });
        places.note_task(number, task);
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

/// Accepts a connection, and makes room for it.
async fn accept(listener: &TcpListener, places: &Places) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    places.make_room(address.ip()).await;
    Ok((stream, address))
}

/// Serves one connection until it ends.
async fn serve_connection(
    stream: TcpStream,
    router: Router,
    head_timeout: Duration,
    shutdown: CancellationToken,
) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout);
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

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// Longest wait for a probe on a busy machine. A blocked one waits for the write timeout.
    const PROBE_TIMEOUT: Duration = Duration::from_secs(15);

    /// Serves until dropped. `/wait` answers when `free` is cancelled.
    struct Server {
        address: SocketAddr,
        metrics: Metrics,
        free: CancellationToken,
        shutdown: CancellationToken,
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.shutdown.cancel();
        }
    }

    impl Server {
        async fn start() -> Self {
            let free = CancellationToken::new();
            let waiting = free.clone();
            let wait = || async move { waiting.cancelled().await };
            let router = Router::new()
                .route("/health", get(|| async { "well" }))
                .route("/metrics", get(|| async { "m 1\n".repeat(16 * 1024) }))
                .route("/other", get(|| async { "other" }))
                .route("/echo", post(|body: String| async move { body }))
                .route("/wait", get(wait));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let shutdown = CancellationToken::new();
            let (metrics, stop) = (Metrics::default(), shutdown.clone());
            tokio::spawn(serve(listener, router, metrics.clone(), stop));
            Self {
                address,
                metrics,
                free,
                shutdown,
            }
        }

        async fn send(&self, text: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            // The server may have closed the connection already.
            let _ = stream.write_all(text.as_bytes()).await;
            stream
        }

        /// Asks again until the answer comes, because the system drops connections when many are
        /// opened and closed at a time.
        async fn probe(&self, path: &str) -> String {
            let asked = async {
                loop {
                    if let Ok(answer) = timeout(2 * SECOND, self.get(path)).await {
                        return answer;
                    }
                }
            };
            timeout(PROBE_TIMEOUT, asked).await.unwrap()
        }

        /// Returns the head and the body of the answer.
        async fn get(&self, path: &str) -> String {
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let mut answer = String::new();
            let mut stream = self.send(&request).await;
            let _ = stream.read_to_string(&mut answer).await;
            answer
        }
    }

    /// Opens `count` connections that send `text`, and opens each one again when it is closed.
    fn besiege(server: &Server, count: usize, text: &'static str) -> JoinSet<()> {
        let address = server.address;
        let mut clients = JoinSet::new();
        for _ in 0..count {
            clients.spawn(async move {
                loop {
                    let Ok(mut stream) = TcpStream::connect(address).await else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    let _ = stream.write_all(text.as_bytes()).await;
                    let mut answer = Vec::new();
                    let _ = stream.read_to_end(&mut answer).await;
                }
            });
        }
        clients
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn slow_connections_cost_themselves_only_and_every_probe_is_answered() {
        for text in [
            "",
            "GET / HTT",
            "GET /other HTTP/1.1\r\nHost: x\r\nX-Slow: ",
            "GET /other HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx",
            "POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx",
        ] {
            let server = Server::start().await;
            let _clients = besiege(&server, 700, text);
            let mut idle = server.send("GET / HT").await;
            // The siege is complete when an idle connection had to make room.
            if !text.starts_with("POST") {
                let mut answer = Vec::new();
                let closed = timeout(60 * SECOND, idle.read_to_end(&mut answer));
                closed.await.unwrap().unwrap_or_default();
                let none = "_refused_total{reason=\"room\"} 0\n";
                let made_room = async {
                    while server.metrics.render().contains(none) {
                        tokio::task::yield_now().await;
                    }
                };
                let made = timeout(60 * SECOND, made_room).await;
                assert!(
                    made.is_ok(),
                    "no room was made: {text:?} {}",
                    server.metrics.render()
                );
            }
            for path in ["/health", "/metrics"].repeat(10) {
                let answer = server.probe(path).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{text:?}: {answer:?}");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn clients_that_send_many_requests_and_read_no_answer_delay_no_probe() {
        for path in ["/metrics", "/other"] {
            let server = Server::start().await;
            let address = server.address;
            let requests = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(2_000);
            let requests: &'static str = requests.leak();
            let mut clients = JoinSet::new();
            for _ in 0..470 {
                clients.spawn(async move {
                    loop {
                        let Ok(mut stream) = TcpStream::connect(address).await else {
                            tokio::task::yield_now().await;
                            continue;
                        };
                        // The client waits until the server closes the connection.
                        while stream.write_all(requests.as_bytes()).await.is_ok() {}
                    }
                });
            }
            let made_room = async {
                let none = "_refused_total{reason=\"room\"} 0\n";
                while server.metrics.render().contains(none) {
                    tokio::task::yield_now().await;
                }
            };
            timeout(60 * SECOND, made_room).await.unwrap();
            for probe in ["/health", "/metrics"].repeat(10) {
                let answer = server.probe(probe).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer:?}");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_peer_with_many_requests_under_way_is_refused_and_its_probes_are_not() {
        let server = Server::start().await;
        let limit = Limits::default().peer_requests;
        let wait = "GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut waiting = Vec::new();
        for _ in 0..limit {
            waiting.push(server.send(wait).await);
        }
        let refused = async {
            loop {
                let answer = server.get("/other").await;
                if answer.starts_with("HTTP/1.1 503") {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        };
        let answer = timeout(60 * SECOND, refused).await.unwrap();
        assert!(
            answer.contains("retry-after: 1") && answer.contains("urn:anomalyzer:problem:busy")
        );
        let metrics = server.metrics.render();
        assert!(
            metrics.contains("\nanomalyzer_http_requests_refused_total 1\n"),
            "{metrics}"
        );
        assert!(server.get("/health").await.contains("well"));
        assert!(server.get("/metrics").await.contains("m 1"));
        server.free.cancel();
        for mut stream in waiting {
            let mut answer = String::new();
            let read = timeout(60 * SECOND, stream.read_to_string(&mut answer));
            read.await.unwrap().unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        assert!(
            server.get("/other").await.contains("other"),
            "the places are free again"
        );
    }
}
