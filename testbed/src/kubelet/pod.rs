//! Runs one pod, from its binding to this node until its removal.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};

use super::container::Keeper;
use super::registry::{Entry, Fate};
use super::{Node, status};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Number of refused attempts after which a status waits for the next change, and a deletion for
/// the next listing of all pods.
const ATTEMPTS: u32 = 20;

/// Runs the pod's containers, reports their status, and confirms the pod's deletion.
pub(super) async fn run(node: &Node, uid: &str, entry: &Entry) {
    let pod = entry.pod();
    let containers = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .zip(&entry.containers);
    let keepers = containers.map(|(container, cell)| {
        let fate = entry.fate.subscribe();
        Keeper {
            node,
            uid,
            pod: &pod,
            container,
            cell,
            address: entry.address,
            fate,
        }
        .keep()
    });
    let keepers = join_all(keepers);
    let life = async {
        keepers.await;
        // A pod whose containers have all ended for good stays until it is deleted.
        let mut fate = entry.fate.subscribe();
        fate.wait_for(|fate| *fate != Fate::Run)
            .await
            .is_ok_and(|fate| matches!(*fate, Fate::Stop { tell: true, .. }))
    };
    entry.changed.notify_one();
    let deleted = tokio::select! {
        deleted = life => deleted,
        () = report(node, uid, entry) => false,
    };
    if deleted {
        let done = || async {
            publish(node, uid, entry)
                .await
                .and(confirm(node, uid, &pod).await)
        };
        if let Err(error) = persistently(done).await {
            tracing::warn!("failed to confirm the deletion of a pod: {error}");
        }
    }
    // The pod's logs are removed with it. Files that can't be removed are removed with the testbed.
    let _removed = std::fs::remove_dir_all(node.folder.join(uid));
}

/// Reports every change to the API server. Never returns.
async fn report(node: &Node, uid: &str, entry: &Entry) {
    loop {
        entry.changed.notified().await;
        if let Err(error) = persistently(|| publish(node, uid, entry)).await {
            tracing::warn!("failed to report the status of a pod: {error}");
        }
    }
}

async fn persistently<F>(mut attempt: impl FnMut() -> F) -> Result<(), String>
where
    F: Future<Output = Result<(), String>>,
{
    let mut attempts = 1;
    loop {
        match attempt().await {
            Err(_) if attempts < ATTEMPTS => attempts += 1,
            outcome => return outcome,
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn publish(node: &Node, uid: &str, entry: &Entry) -> Result<(), String> {
    let pod = entry.pod();
    let patch = status::patch(
        &pod,
        uid,
        entry.address,
        node.addresses.node(),
        &entry.statuses(),
        Timestamp::now(),
    );
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api = pods(node, &pod);
    settled(api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))).await
}

/// Confirms the deletion of a pod: the node holds no part of it any more.
async fn confirm(node: &Node, uid: &str, pod: &Pod) -> Result<(), String> {
    let preconditions = Preconditions {
        uid: Some(uid.to_owned()),
        ..Preconditions::default()
    };
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    };
    settled(pods(node, pod).delete(
        pod.metadata.name.as_deref().unwrap_or_default(),
        &parameters,
    ))
    .await
}

/// Sends a request, and treats "not found" and "conflict" as success. They mean that the pod is
/// gone or that another pod has its name, so there is nothing left to report.
async fn settled<T>(request: impl Future<Output = kube::Result<T>>) -> Result<(), String> {
    match tokio::time::timeout(ANSWER_WITHIN, request).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_late) => Err(format!("no answer within {ANSWER_WITHIN:?}")),
    }
}

fn pods(node: &Node, pod: &Pod) -> Api<Pod> {
    Api::namespaced(
        node.client.clone(),
        pod.metadata.namespace.as_deref().unwrap_or_default(),
    )
}
