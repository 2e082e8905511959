//! The node as an object of the API, which is created once and kept ready.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::NODE;
use crate::install;

const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
const PODS: &str = "250";
/// Number of processors that the node reports. Processor time is not limited here, so the scheduler
/// must not run out of it.
const PROCESSORS: &str = "64";

/// Creates the node, or updates an existing one.
pub(super) async fn register(client: &Client, address: Ipv4Addr, port: u16) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let labels = json!({ "kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": architecture() });
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE, "labels": labels } });
    api.patch(
        NODE,
        &PatchParams::apply("testbed-kubelet").force(),
        &Patch::Apply(node),
    )
    .await?;
    report(&api, address, port).await
}

/// Reports every ten seconds that the node is ready. A node without reports loses its pods.
pub(super) async fn heartbeat(client: Client, address: Ipv4Addr, port: u16) {
    let api: Api<Node> = Api::all(client);
    let mut ticks = tokio::time::interval(HEARTBEAT_EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = report(&api, address, port).await {
            tracing::debug!(%error, "heartbeat of the node failed");
        }
    }
}

async fn report(api: &Api<Node>, address: Ipv4Addr, port: u16) -> Result<()> {
    api.patch_status(
        NODE,
        &PatchParams::default(),
        &Patch::Strategic(status(address, port)),
    )
    .await?;
    Ok(())
}

fn status(address: Ipv4Addr, port: u16) -> Value {
    let now = Timestamp::now();
    let room = json!({ "cpu": PROCESSORS, "memory": memory(), "pods": PODS });
    let condition = |kind: &str, status: &str, reason: &str| json!({ "type": kind, "status": status, "reason": reason, "lastHeartbeatTime": now });
    json!({ "status": {
        "conditions": [
            condition("Ready", "True", "KubeletReady"),
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        ],
        "addresses": [{ "type": "InternalIP", "address": address }, { "type": "Hostname", "address": NODE }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
        "capacity": room,
        "allocatable": room,
        "nodeInfo": {
            "kubeletVersion": format!("v{}", install::KUBERNETES_VERSION), "containerRuntimeVersion": "testbed://processes",
            "operatingSystem": "linux", "architecture": architecture(), "osImage": "", "kernelVersion": "",
            "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": "",
        },
    }})
}

/// Returns Go's name of the processor, which Kubernetes uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Returns the machine's memory from `/proc/meminfo`: `MemTotal:  24680000 kB`.
fn memory() -> String {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(1))
        .unwrap_or("8000000");
    format!("{total}Ki")
}
