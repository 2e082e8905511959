//! Watches the pods that are bound to this node.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};

use super::NODE;
use super::registry::Registry;

const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Lists and watches pods for as long as the kubelet lives.
pub(super) async fn follow(registry: Arc<Registry>) {
    let api: Api<Pod> = Api::all(registry.client());
    loop {
        if let Err(error) = list_and_watch(&api, &registry).await {
            tracing::debug!(%error, "watch of pods failed; starting it again");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

/// Lists the pods and watches them until the server ends the watch, which it does every few
/// minutes.
async fn list_and_watch(api: &Api<Pod>, registry: &Arc<Registry>) -> Result<()> {
    let bound_here = format!("spec.nodeName={NODE}");
    let list = api.list(&ListParams::default().fields(&bound_here)).await?;
    let known: Vec<_> = list
        .items
        .iter()
        .filter_map(|pod| pod.metadata.uid.as_deref())
        .collect();
    registry.keep_only(&known);
    let version = list.metadata.resource_version.unwrap_or_default();
    for pod in list.items {
        registry.see(pod);
    }
    let events = api
        .watch(&WatchParams::default().fields(&bound_here), &version)
        .await?;
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => registry.see(pod),
            WatchEvent::Deleted(pod) => registry.gone(&pod),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => bail!("{}", status.message),
        }
    }
    Ok(())
}
