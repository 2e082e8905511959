//! HTTP service discovery, which tells Prometheus the pods to scrape.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Result;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde::Serialize;

use super::registry::{Entry, Registry};

/// A target in Prometheus's format.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Target {
    targets: [String; 1],
    labels: BTreeMap<&'static str, String>,
}

/// Answers `/sd` on `listener` for as long as the returned future is polled.
pub(super) fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
) -> Result<impl Future<Output = ()> + Send> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let routes = Router::new()
        .route("/sd", get(targets))
        .with_state(registry);
    Ok(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::warn!(%error, "discovery of pods ended");
        }
    })
}

async fn targets(State(registry): State<Arc<Registry>>) -> Json<Vec<Target>> {
    Json(
        registry
            .all()
            .iter()
            .filter_map(|entry| target(entry))
            .collect(),
    )
}

/// Returns the target of a pod that asks to be scraped and has a running container.
fn target(entry: &Entry) -> Option<Target> {
    let runs = |container: &ContainerStatus| {
        container
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some())
    };
    let pod = entry.pod();
    entry
        .statuses()
        .iter()
        .any(runs)
        .then(|| target_of(&pod, &entry.address.to_string()))?
}

fn target_of(pod: &Pod, address: &str) -> Option<Target> {
    let metadata = &pod.metadata;
    let annotation = |name: &str| {
        metadata
            .annotations
            .as_ref()?
            .get(&format!("prometheus.io/{name}"))
            .cloned()
    };
    if annotation("scrape").as_deref() != Some("true") {
        return None;
    }
    let first_port = || {
        pod.spec
            .as_ref()?
            .containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten())
            .next()
    };
    let port =
        annotation("port").or_else(|| first_port().map(|port| port.container_port.to_string()))?;
    let label = |name: &str| metadata.labels.as_ref()?.get(name).cloned();
    let mut labels = BTreeMap::new();
    let mut set = |name: &'static str, value: Option<String>| {
        if let Some(value) = value {
            labels.insert(name, value);
        }
    };
    set("namespace", metadata.namespace.clone());
    set("pod", metadata.name.clone());
    set("app", label("app"));
    set("deployment", deployment_of(pod));
    set("__metrics_path__", annotation("path"));
    Some(Target {
        targets: [format!("{address}:{port}")],
        labels,
    })
}

/// Returns the name of the pod's deployment. A deployment's pods belong to a replica set named
/// `name-HASH`.
fn deployment_of(pod: &Pod) -> Option<String> {
    let hash = pod.metadata.labels.as_ref()?.get("pod-template-hash")?;
    let owner = pod
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.kind == "ReplicaSet")?;
    Some(
        owner
            .name
            .strip_suffix(hash.as_str())?
            .strip_suffix('-')?
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(annotations: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "shop-5d4-x", "namespace": "prod", "annotations": annotations,
                "labels": { "app": "shop", "pod-template-hash": "5d4" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-5d4", "uid": "u" }],
            },
            "spec": { "containers": [{ "name": "shop", "ports": [{ "containerPort": 8000 }] }] },
        }))
        .unwrap()
    }

    #[test]
    fn a_target_carries_what_its_deployment_is_called() {
        let target = target_of(
            &pod(&json!({ "prometheus.io/scrape": "true" })),
            "127.0.1.1",
        )
        .unwrap();
        assert_eq!(target.targets, ["127.0.1.1:8000"]);
        let expected = [
            ("app", "shop"),
            ("deployment", "shop"),
            ("namespace", "prod"),
            ("pod", "shop-5d4-x"),
        ];
        assert_eq!(
            target.labels,
            expected
                .map(|(name, value)| (name, value.to_owned()))
                .into()
        );
    }

    #[test]
    fn a_pod_is_scraped_only_if_it_asks_and_where_it_says() {
        assert_eq!(target_of(&pod(&json!({})), "127.0.1.1"), None);
        let annotations = json!({ "prometheus.io/scrape": "true", "prometheus.io/port": "9", "prometheus.io/path": "/m" });
        let target = target_of(&pod(&annotations), "127.0.1.1").unwrap();
        assert_eq!(
            (target.targets, target.labels["__metrics_path__"].as_str()),
            (["127.0.1.1:9".to_owned()], "/m")
        );
    }
}
