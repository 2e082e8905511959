//! The HTTP client of every part that calls out.

use std::sync::Arc;
use std::time::Duration;

use reqwest::ClientBuilder;
use reqwest::dns::Resolve;
use reqwest::redirect::Policy;

/// How long a connection may take to come about, if the whole request has longer.
const CONNECT: Duration = Duration::from_secs(5);

/// A client whose requests end after `timeout`. It follows no redirects, so that credentials stay
/// where they were meant to go, and uses no proxy from the environment.
pub fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    build(timeout, |builder| builder)
}

/// The same, with names looked up by `resolver`: it connects to nothing else than what that says.
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
    // A machine without a bundle of certificate authorities (a bare container) can still speak
    // HTTP.
    builder().build().or_else(|error| {
        tracing::warn!(%error, "no certificate authorities found: HTTPS will not work until ca-certificates is installed");
        builder().tls_certs_only([]).build()
    })
}

/// Says with what TLS encrypts: needed once before the first TLS connection of the process.
pub fn install_tls_provider() {
    // The first to install wins; that it is installed already is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Why a request did not come through, in one line, and without its URL: that may be a secret.
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
