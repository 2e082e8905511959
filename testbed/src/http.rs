//! HTTP client for readiness checks, probes and tests.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Client, Response, redirect};

/// The client. It follows no redirects and uses no proxy, because all its servers are on loopback.
/// It checks no certificates, because a kubelet's probes don't check them either.
pub static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    crate::tls::choose_provider();
    Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .danger_accept_invalid_certs(true)
        .connect_timeout(Duration::from_secs(5))
        .pool_max_idle_per_host(0)
        .build()
        .unwrap_or_default()
});

/// Sends a GET request to `url`.
///
/// # Errors
/// Returns an error if the answer is not a 2xx.
pub async fn ok(url: &str) -> Result<()> {
    succeeded(
        CLIENT
            .get(url)
            .timeout(Duration::from_secs(5))
            .send()
            .await?,
    )
    .await
    .map(drop)
}

/// Returns the body of a successful response.
///
/// # Errors
/// Returns an error with the status and the body of another response.
pub async fn succeeded(response: Response) -> Result<String> {
    let status = response.status();
    let body = response.text().await.context("the body broke off")?;
    if !status.is_success() {
        bail!("{status}: {}", body.trim());
    }
    Ok(body)
}
