//! The one HTTP client, for readiness, probes and tests.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Client, Response, redirect};

/// Follows no redirect and knows no proxy: all it ever talks to is on loopback. Certificates are
/// not checked, as a kubelet's probes don't check them either.
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

/// Success if a GET of `url` is answered by a 2xx.
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

/// The body of a response that says success; else an error with status and body.
pub async fn succeeded(response: Response) -> Result<String> {
    let status = response.status();
    let body = response.text().await.context("the body broke off")?;
    if !status.is_success() {
        bail!("{status}: {}", body.trim());
    }
    Ok(body)
}
