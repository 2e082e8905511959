//! Last lines of each pod's log.

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;

use super::cluster::Cluster;
use super::error::{ApiError, short};

/// Maximum number of pods whose logs are read.
const MOST_PODS: usize = 50;
/// Number of logs that are read concurrently.
const AT_ONCE: usize = 4;
/// Maximum size of one container's log in bytes.
const MOST_BYTES: i64 = 1024 * 1024;

/// Returns the last lines of each container. Each line starts with the name of the pod, and also
/// that of the container if the pod has several. An unreadable log yields one line with the reason.
/// With `previous`, a container without an earlier run yields no line.
pub async fn read(
    cluster: &Cluster,
    namespace: &str,
    pods: &[Pod],
    lines: u32,
    previous: bool,
) -> Vec<String> {
    let containers: Vec<(String, String, String)> =
        pods.iter().take(MOST_PODS).flat_map(containers).collect();
    futures::stream::iter(containers)
        .map(|(pod, container, label)| async move {
            let parameters = LogParams {
                container: Some(container),
                tail_lines: Some(i64::from(lines)),
                limit_bytes: Some(MOST_BYTES),
                previous,
                ..LogParams::default()
            };
            match cluster.log(namespace, &pod, &parameters).await {
                Ok(text) => text
                    .lines()
                    .map(|line| format!("{label}: {line}"))
                    .collect(),
                Err(ApiError::Refused(_) | ApiError::NotFound(_) | ApiError::NoSuchPath(_))
                    if previous =>
                {
                    Vec::new()
                }
                Err(
                    ApiError::Refused(why)
                    | ApiError::NotFound(why)
                    | ApiError::Conflict(why)
                    | ApiError::NoSuchPath(why)
                    | ApiError::Unavailable(why)
                    | ApiError::Unknown(why),
                ) => vec![format!("{label}: (no log: {})", short(&why))],
            }
        })
        .buffered(AT_ONCE)
        .concat()
        .await
}

/// Returns the pod, the container and the prefix of its lines, for each container of `pod`.
fn containers(pod: &Pod) -> Vec<(String, String, String)> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let containers = pod
        .spec
        .as_ref()
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default();
    let several = containers.len() > 1;
    let label = |container: &str| {
        if several {
            format!("{name}/{container}")
        } else {
            name.clone()
        }
    };
    containers
        .iter()
        .map(|container| (name.clone(), container.name.clone(), label(&container.name)))
        .collect()
}
