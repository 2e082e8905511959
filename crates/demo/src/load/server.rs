//! Serves the control endpoint, and keeps the list of targets up to date.

use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::args::DemoLoadArgs;
use super::control;
use super::running::Load;
use anomalyzer_http_source::{AccessConfig, SourceClient, http_sd};

/// Time that connections to the control endpoint may stay open after the shutdown.
const DRAIN: Duration = Duration::from_secs(3);
/// Time between two requests for the list of targets.
const DISCOVERY: Duration = Duration::from_secs(1);

/// Sends traffic and serves the control endpoint until the shutdown.
pub async fn run(args: DemoLoadArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!(
            "cannot listen on {}: choose another address with --listen",
            args.listen
        )
    })?;
    serve(listener, args, shutdown).await
}

/// Sends traffic and serves the control endpoint on `listener` until the shutdown; see [`run`].
pub async fn serve(
    listener: TcpListener,
    args: DemoLoadArgs,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (sender, targets) = watch::channel(args.targets);
    let load = Load::start(targets, &args.settings, shutdown.clone())?;
    let discovery = args
        .targets_url
        .map(|url| tokio::spawn(discover(url, sender, shutdown.clone())));
    tracing::info!(address = %listener.local_addr()?, rate = args.settings.rate, "demo load started");
    let server = axum::serve(listener, control::router(load.clone()));
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server.with_graceful_shutdown(shutdown.clone().cancelled_owned()) => ended?,
        () = late => tracing::warn!("shutdown timeout reached, dropping connections to the control endpoint"),
    }
    if let Some(discovery) = discovery {
        discovery.await?;
    }
    load.ended().await;
    Ok(())
}

/// Keeps the list of targets up to date. While the list is unavailable, the last one is used.
async fn discover(url: String, sender: watch::Sender<Vec<String>>, shutdown: CancellationToken) {
    let client = match SourceClient::new(AccessConfig::default(), DISCOVERY) {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "cannot set up the HTTP client"),
    };
    let mut is_reported = false;
    loop {
        match http_sd::fetch(&client, &url).await {
            Ok(found) => {
                is_reported = false;
                let bases: Vec<String> = found.iter().map(http_sd::Discovered::base_url).collect();
                sender
                    .send_if_modified(|known| (*known != bases).then(|| *known = bases).is_some());
            }
            Err(error) if !is_reported => {
                is_reported = true;
                tracing::warn!(%error, "cannot fetch the list of targets, keeping the last one");
            }
            Err(_) => {}
        }
        if tokio::time::timeout(DISCOVERY, shutdown.cancelled())
            .await
            .is_ok()
        {
            return;
        }
    }
}
