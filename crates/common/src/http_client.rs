//! HTTP client of every part that makes requests.

use std::collections::HashSet;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::client::legacy::connect::HttpInfo;
use parking_lot::Mutex;
use reqwest::dns::Resolve;
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, Request, RequestBuilder, Response};

/// Maximum time to establish a connection. A shorter request timeout takes precedence.
const CONNECT: Duration = Duration::from_secs(5);

/// Creates a client whose requests end after `timeout`. It follows no redirects, so that
/// credentials are sent only to the intended host, and uses no proxy from the environment.
pub fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    build(timeout, |builder| builder)
}

/// Creates a client like [`client`] that resolves names with `resolver`. It connects only to the
/// addresses that `resolver` returns.
pub fn resolving(
    timeout: Duration,
    resolver: impl Resolve + 'static,
) -> Result<reqwest::Client, reqwest::Error> {
    let resolver: Arc<dyn Resolve> = Arc::new(resolver);
    build(timeout, |builder| {
        builder.dns_resolver(Arc::clone(&resolver))
    })
}

/// Own and remote address of a connection.
type Connection = (SocketAddr, SocketAddr);

/// Maximum number of connections that are remembered. Idle connections live for 90 s.
const MAX_CONNECTIONS: usize = 10_000;

/// Client for requests that change nothing, and may therefore be sent twice.
///
/// A server may close an idle connection at the moment when the next request is on its way. Node.js
/// does so after 5 s, gunicorn after 2 s. If a connection that was used before ends without an
/// answer, this client repeats the request once, on a new connection. Go's net/http, and so
/// Prometheus, does the same.
#[derive(Clone, Debug)]
pub struct ReadClient {
    pooled: reqwest::Client,
    /// Client that never reuses a connection.
    fresh: reqwest::Client,
    /// Connections that returned an answer.
    used: Arc<Mutex<HashSet<Connection>>>,
}

impl ReadClient {
    /// Creates a client like [`client`]. If `authorities` is given, it trusts only servers whose
    /// certificate one of them signed.
    pub fn new(
        timeout: Duration,
        authorities: Option<&[Certificate]>,
    ) -> Result<Self, reqwest::Error> {
        let trust = |builder: ClientBuilder| match authorities {
            Some(authorities) => builder.tls_certs_only(authorities.iter().cloned()),
            None => builder,
        };
        Ok(Self {
            pooled: build(timeout, trust)?,
            fresh: build(timeout, |builder| trust(builder).pool_max_idle_per_host(0))?,
            used: Arc::default(),
        })
    }

    /// Starts a GET request.
    pub fn get(&self, url: reqwest::Url) -> RequestBuilder {
        self.pooled.get(url)
    }

    /// Starts a POST request, for a query that is too long for a URL.
    pub fn post(&self, url: reqwest::Url) -> RequestBuilder {
        self.pooled.post(url)
    }

    /// Sends a request.
    pub async fn execute(&self, request: Request) -> Result<Response, reqwest::Error> {
        let (started, again) = (Instant::now(), request.try_clone());
        let error = match self.pooled.execute(request).await {
            Ok(response) => {
                self.remember(&response);
                return Ok(response);
            }
            Err(error) => error,
        };
        match again {
            Some(mut again) if self.was_idle(&error) => {
                // Both attempts together have the time of one.
                if let Some(timeout) = again.timeout_mut() {
                    *timeout = timeout.saturating_sub(started.elapsed());
                }
                self.fresh.execute(again).await
            }
            _ => Err(error),
        }
    }

    fn remember(&self, response: &Response) {
        if let Some(info) = response.extensions().get::<HttpInfo>() {
            let mut used = self.used.lock();
            if used.len() >= MAX_CONNECTIONS {
                used.clear();
            }
            used.insert((info.local_addr(), info.remote_addr()));
        }
    }

    /// Returns true if the request failed because a connection that was used before ended without
    /// any byte of an answer.
    fn was_idle(&self, error: &reqwest::Error) -> bool {
        if error.is_timeout() || cause::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
            return false;
        }
        let Some(connected) = cause::<hyper_util::client::legacy::Error>(error)
            .and_then(hyper_util::client::legacy::Error::connect_info)
        else {
            return false;
        };
        let mut extensions = http::Extensions::new();
        connected.get_extras(&mut extensions);
        extensions.get::<HttpInfo>().is_some_and(|info| {
            self.used
                .lock()
                .remove(&(info.local_addr(), info.remote_addr()))
        })
    }
}

/// Returns the cause of type `E` of an error.
fn cause<E: Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn build(
    timeout: Duration,
    more: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<reqwest::Client, reqwest::Error> {
    install_tls_provider();
    let builder = || {
        more(
            reqwest::Client::builder()
                .timeout(timeout)
                .connect_timeout(CONNECT.min(timeout))
                .redirect(Policy::none())
                .no_proxy(),
        )
    };
    // A machine without a bundle of certificate authorities (a bare container) can still use HTTP.
    builder().build().or_else(|error| {
        tracing::warn!(%error, "no certificate authorities found; HTTPS does not work until ca-certificates is installed");
        builder().tls_certs_only([]).build()
    })
}

/// Installs the TLS crypto provider. It is needed once, before the first TLS connection of the
/// process.
pub fn install_tls_provider() {
    // The first installation wins. An error means that a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Returns the reason of a failed request in one line. It leaves out the URL, which may contain a
/// secret.
pub fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    /// Server whose connections answer the number of requests that `answers` returns for the number
    /// of the connection, and then read one more request, write `last` and end.
    async fn server(
        answers: fn(usize) -> usize,
        last: &'static [u8],
    ) -> (reqwest::Url, Arc<AtomicUsize>, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (connections, requests) =
            (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (accepted, received) = (connections.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let number = accepted.fetch_add(1, Ordering::SeqCst);
                let received = received.clone();
                tokio::spawn(async move {
                    for _ in 0..answers(number) {
                        head(&mut stream).await;
                        received.fetch_add(1, Ordering::SeqCst);
                        stream.write_all(ANSWER).await.unwrap();
                    }
                    head(&mut stream).await;
                    received.fetch_add(1, Ordering::SeqCst);
                    stream.write_all(last).await.unwrap();
                });
            }
        });
        (url.parse().unwrap(), connections, requests)
    }

    async fn head(stream: &mut TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
    }

    async fn ask(client: &ReadClient, url: &reqwest::Url) -> Result<String, String> {
        let request = client.get(url.clone()).build().unwrap();
        let response = client.execute(request).await.map_err(reason)?;
        let text = response.text().await.map_err(reason)?;
        // The connection becomes idle in another task of this thread.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        Ok(text)
    }

    #[tokio::test]
    async fn an_idle_connection_that_the_server_closes_costs_no_request() {
        // Each connection answers once, and closes when the next request comes.
        let (url, connections, requests) = server(|_| 1, b"").await;
        let client = ReadClient::new(Duration::from_secs(10), None).unwrap();
        for _ in 0..6 {
            assert_eq!(ask(&client, &url).await, Ok("ok".to_owned()));
        }
        let counted = [&connections, &requests].map(|count| count.load(Ordering::SeqCst));
        assert!(counted[0] >= 4 && counted[1] > 6, "{counted:?}");
    }

    #[tokio::test]
    async fn a_request_is_repeated_once_and_only_after_a_used_connection_ended_without_an_answer() {
        // A server that never answers is asked once.
        let (url, _, requests) = server(|_| 0, b"").await;
        let client = ReadClient::new(Duration::from_secs(10), None).unwrap();
        assert!(ask(&client, &url).await.is_err());
        assert_eq!(requests.load(Ordering::SeqCst), 1);

        // The first connection answers once. No connection answers after that.
        let (url, connections, requests) = server(|number| usize::from(number == 0), b"").await;
        assert!(ask(&client, &url).await.is_ok());
        assert!(ask(&client, &url).await.is_err());
        let counted = [&connections, &requests].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(counted, [2, 3]);

        // An answer that is no HTTP is an answer.
        let (url, _, requests) = server(|_| 1, b"220 mail.example.com ESMTP\r\n\r\n").await;
        assert!(ask(&client, &url).await.is_ok());
        assert!(ask(&client, &url).await.is_err());
        assert_eq!(requests.load(Ordering::SeqCst), 2);
    }
}
