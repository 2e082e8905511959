//! HTTP client of every part that makes requests.

use std::sync::Arc;
use std::time::Duration;

use reqwest::ClientBuilder;
use reqwest::dns::Resolve;
use reqwest::redirect::Policy;

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
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}
