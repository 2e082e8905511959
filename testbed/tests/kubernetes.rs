//! Tests of the cluster whose pods are processes, against the real control plane.
#![expect(
    clippy::unwrap_used,
    reason = "what these tests are built of may panic like the tests themselves"
)]

use std::path::Path;
use std::time::Duration;

use anomalyzer_testbed::http::{self, CLIENT};
use anomalyzer_testbed::{KubernetesEndpoint, shared};
use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Namespace, Pod};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(60);

/// A namespace of the shared cluster for one test.
struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    async fn new(endpoint: &KubernetesEndpoint, namespace: &str) -> Self {
        let client = client(&endpoint.kubeconfig).await;
        // An earlier run may have used the same cluster, and a name can't be reused while its
        // namespace is being deleted.
        let namespace = format!("{namespace}-{}", std::process::id());
        let object = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        let cluster = Self { client, namespace };
        // The API server refuses pods until the namespace has its service account.
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = cluster.api();
        until("the service account is there", async || {
            accounts.get_opt("default").await.unwrap()
        })
        .await;
        cluster
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn pod(&self, name: &str, container: Value) -> Pod {
        let pod = json!({
            "metadata": { "name": name },
            "spec": { "terminationGracePeriodSeconds": 5, "containers": [container] },
        });
        self.api::<Pod>()
            .create(
                &PostParams::default(),
                &serde_json::from_value(pod).unwrap(),
            )
            .await
            .unwrap()
    }

    /// Creates a deployment with `replicas` web servers, each at its own address.
    async fn deployment(&self, replicas: u32) {
        let container = json!({
            "name": "web", "image": "shell",
            "args": ["-c", "echo at $POD_IP; exec python3 -u -m http.server --bind $POD_IP 8000"],
            "ports": [{ "name": "http", "containerPort": 8000 }],
            "readinessProbe": { "httpGet": { "path": "/", "port": "http" }, "periodSeconds": 1 },
        });
        let deployment = json!({
            "metadata": { "name": "web" },
            "spec": {
                "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
                "template": {
                    "metadata": { "labels": { "app": "web" }, "annotations": { "prometheus.io/scrape": "true" } },
                    "spec": { "containers": [container] },
                },
            },
        });
        let deployment = serde_json::from_value(deployment).unwrap();
        self.api::<Deployment>()
            .create(&PostParams::default(), &deployment)
            .await
            .unwrap();
        self.rolled_out(replicas).await;
    }

    async fn rolled_out(&self, replicas: u32) {
        let deployments = self.api::<Deployment>();
        until("the deployment has rolled out", async || {
            let deployment = deployments.get("web").await.unwrap();
            let status = deployment.status.unwrap_or_default();
            let wanted = i32::try_from(replicas).ok();
            (status.observed_generation == deployment.metadata.generation
                && (
                    status.replicas,
                    status.updated_replicas,
                    status.available_replicas,
                ) == (wanted, wanted, wanted))
                .then_some(())
        })
        .await;
    }

    /// Waits until the only container of the pod meets `wanted`.
    async fn container(
        &self,
        pod: &str,
        what: &str,
        wanted: impl Fn(&ContainerStatus) -> bool,
    ) -> ContainerStatus {
        let pods = self.api::<Pod>();
        until(what, async || {
            let status = pods.get(pod).await.unwrap().status?;
            status
                .container_statuses?
                .into_iter()
                .next()
                .filter(|status| wanted(status))
        })
        .await
    }

    async fn has_event(&self, pod: &str, reason: &str) {
        let events = self.api::<Event>();
        until(&format!("an event {reason}"), async || {
            let events = events.list(&ListParams::default()).await.unwrap();
            let about = |event: &&Event| {
                event.involved_object.name.as_deref() == Some(pod)
                    && event.reason.as_deref() == Some(reason)
            };
            events.items.iter().find(about).map(|_| ())
        })
        .await;
    }

    async fn done(self) {
        Api::<Namespace>::all(self.client)
            .delete(&self.namespace, &DeleteParams::default())
            .await
            .unwrap();
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// Calls `ask` until it returns a value.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(WITHIN, asking).await {
        Ok(answer) => answer,
        Err(_late) => panic!("waited {WITHIN:?} in vain until {what}"),
    }
}

fn waits(status: &ContainerStatus, reason: &str) -> bool {
    let waiting = status
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref());
    waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some(reason))
}

fn runs(status: &ContainerStatus) -> bool {
    status
        .state
        .as_ref()
        .is_some_and(|state| state.running.is_some())
}

#[tokio::test]
async fn a_deployment_rolls_out_scales_and_rolls_again_and_its_replicas_answer() {
    let Some(endpoint) = shared::kubernetes("testbed: a deployment rolls out") else {
        return;
    };
    let cluster = Cluster::new(&endpoint, "rolls-out").await;
    cluster.deployment(3).await;
    let pods = cluster.api::<Pod>();
    let addresses = async || {
        let running = ListParams::default().fields("status.phase=Running");
        let pods = pods.list(&running).await.unwrap().items.into_iter();
        let mut addresses: Vec<_> = pods.filter_map(|pod| pod.status?.pod_ip).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    };
    let first = addresses().await;
    assert_eq!(first.len(), 3, "{first:?}");
    for address in &first {
        http::ok(&format!("http://{address}:8000/")).await.unwrap();
    }

    let scale = json!({ "spec": { "replicas": 2 } });
    let deployments = cluster.api::<Deployment>();
    deployments
        .patch_scale("web", &PatchParams::default(), &Patch::Merge(scale))
        .await
        .unwrap();
    cluster.rolled_out(2).await;
    let restarted = json!({ "spec": { "template": { "metadata": { "annotations": { "restarted": "now" } } } } });
    deployments
        .patch("web", &PatchParams::default(), &Patch::Merge(restarted))
        .await
        .unwrap();
    cluster.rolled_out(2).await;
    until("only new pods are left", async || {
        let now = addresses().await;
        (now.len() == 2 && now.iter().all(|address| !first.contains(address))).then_some(())
    })
    .await;
    cluster.done().await;
}

#[tokio::test]
async fn an_unknown_image_is_backed_off_from() {
    let Some(endpoint) = shared::kubernetes("testbed: an unknown image is backed off from") else {
        return;
    };
    let cluster = Cluster::new(&endpoint, "bad-image").await;
    cluster
        .pod("bad", json!({ "name": "app", "image": "no-such-image:1" }))
        .await;
    let status = cluster
        .container("bad", "the image is backed off from", |status| {
            waits(status, "ImagePullBackOff")
        })
        .await;
    assert_eq!((status.restart_count, status.ready), (0, false));
    let phase = cluster
        .api::<Pod>()
        .get("bad")
        .await
        .unwrap()
        .status
        .unwrap()
        .phase;
    assert_eq!(phase.as_deref(), Some("Pending"));
    cluster.has_event("bad", "BackOff").await;
    let refusal = cluster
        .api::<Pod>()
        .logs("bad", &LogParams::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("waiting to start"), "{refusal}");
    cluster.done().await;
}

#[tokio::test]
async fn a_container_above_its_memory_limit_is_killed_and_started_again() {
    let Some(endpoint) =
        shared::kubernetes("testbed: a container above its memory limit is killed")
    else {
        return;
    };
    let cluster = Cluster::new(&endpoint, "memory").await;
    let code = "import time\nheld = []\nwhile True:\n    held.append(bytearray(4 << 20))\n    time.sleep(0.05)";
    let container = json!({
        "name": "app", "image": "shell", "args": ["-c", "exec python3 -c \"$CODE\""],
        "env": [{ "name": "CODE", "value": code }],
        "resources": { "limits": { "memory": "64Mi" } },
    });
    cluster.pod("hog", container).await;
    let status = cluster
        .container("hog", "it was killed and restarted", |status| {
            status.restart_count >= 1
        })
        .await;
    let ended = status.last_state.unwrap().terminated.unwrap();
    assert_eq!(
        (ended.reason.as_deref(), ended.exit_code),
        (Some("OOMKilled"), 137)
    );
    cluster.has_event("hog", "OOMKilling").await;
    cluster.done().await;
}

#[tokio::test]
async fn a_container_that_crashes_is_held_back_longer_and_longer() {
    let Some(endpoint) = shared::kubernetes("testbed: a container that crashes is held back")
    else {
        return;
    };
    let cluster = Cluster::new(&endpoint, "crashes").await;
    cluster
        .pod(
            "crash",
            json!({ "name": "app", "image": "shell", "args": ["-c", "exit 3"] }),
        )
        .await;
    let status = cluster
        .container("crash", "it is held back", |status| {
            waits(status, "CrashLoopBackOff")
        })
        .await;
    let ended = status.last_state.unwrap().terminated.unwrap();
    assert_eq!(
        (
            status.restart_count,
            ended.exit_code,
            ended.reason.as_deref()
        ),
        (1, 3, Some("Error"))
    );
    cluster.has_event("crash", "BackOff").await;
    cluster.done().await;
}

#[tokio::test]
async fn a_container_that_fails_its_liveness_probe_is_started_again() {
    let Some(endpoint) = shared::kubernetes("testbed: a container that fails its liveness probe")
    else {
        return;
    };
    let cluster = Cluster::new(&endpoint, "liveness").await;
    let container = json!({
        "name": "app", "image": "shell", "args": ["-c", "sleep 1000"],
        "livenessProbe": { "tcpSocket": { "port": 8000 }, "periodSeconds": 1, "failureThreshold": 1 },
    });
    cluster.pod("deaf", container).await;
    let status = cluster
        .container("deaf", "it was restarted", |status| {
            status.restart_count >= 1
        })
        .await;
    // SIGTERM ends a shell.
    assert_eq!(
        status.last_state.unwrap().terminated.unwrap().exit_code,
        143
    );
    cluster.has_event("deaf", "Unhealthy").await;
    cluster.has_event("deaf", "Killing").await;
    cluster.done().await;
}

#[tokio::test]
async fn logs_of_this_run_and_the_last_are_served_through_the_api_server() {
    let Some(endpoint) = shared::kubernetes("testbed: logs are served through the API server")
    else {
        return;
    };
    let cluster = Cluster::new(&endpoint, "logs").await;
    // The first run ends, and the second stays.
    let script = "if [ -e ran ]; then echo second; echo of $NAME >&2; sleep 1000; fi; touch ran; echo first; exit 1";
    let name =
        json!({ "name": "NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } });
    let container =
        json!({ "name": "app", "image": "shell", "args": ["-c", script], "env": [name] });
    cluster.pod("talks", container).await;
    cluster
        .container("talks", "the second run", |status| {
            status.restart_count == 1 && runs(status)
        })
        .await;
    let pods = cluster.api::<Pod>();
    let logs = async |parameters: LogParams| pods.logs("talks", &parameters).await.unwrap();
    until("both lines are there", async || {
        let text = logs(LogParams::default()).await;
        (text.contains("second\n") && text.contains("of talks\n")).then_some(())
    })
    .await;
    assert_eq!(
        logs(LogParams {
            previous: true,
            ..LogParams::default()
        })
        .await,
        "first\n"
    );
    let last = logs(LogParams {
        tail_lines: Some(1),
        timestamps: true,
        ..LogParams::default()
    })
    .await;
    assert!(
        last.starts_with("20") && last.lines().count() == 1,
        "{last}"
    );

    let following = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let mut lines = pods.log_stream("talks", &following).await.unwrap().lines();
    let followed = async {
        (
            lines.try_next().await.unwrap(),
            lines.try_next().await.unwrap(),
        )
    };
    let (one, other) = tokio::time::timeout(WITHIN, followed).await.unwrap();
    assert!(one.is_some() && other.is_some(), "{one:?} {other:?}");
    pods.delete("talks", &DeleteParams::default())
        .await
        .unwrap();
    let end = tokio::time::timeout(WITHIN, lines.try_next())
        .await
        .unwrap();
    assert_eq!(end.unwrap(), None, "following ends with the container");
    cluster.done().await;
}

#[tokio::test]
async fn deleting_a_pod_asks_its_process_to_end_and_then_makes_it() {
    let Some(endpoint) = shared::kubernetes("testbed: deleting a pod ends its process") else {
        return;
    };
    let cluster = Cluster::new(&endpoint, "deletion").await;
    let folder = tempfile::tempdir().unwrap();
    let (asked, pid) = (folder.path().join("asked"), folder.path().join("pid"));
    // The script records the SIGTERM and goes on. Kubernetes turns two dollar signs into one.
    let script = format!(
        "trap 'touch {}' TERM; echo $$$$ > {}; while true; do sleep 0.1; done",
        asked.display(),
        pid.display()
    );
    cluster
        .pod(
            "stays",
            json!({ "name": "app", "image": "shell", "args": ["-c", script] }),
        )
        .await;
    let pid = until("it runs", async || {
        std::fs::read_to_string(&pid)
            .ok()
            .filter(|pid| pid.ends_with('\n'))
    })
    .await;
    let process = format!("/proc/{}", pid.trim());
    assert!(Path::new(&process).exists());
    let pods = cluster.api::<Pod>();
    pods.delete(
        "stays",
        &DeleteParams {
            grace_period_seconds: Some(1),
            ..DeleteParams::default()
        },
    )
    .await
    .unwrap();
    until("the pod is gone", async || {
        pods.get_opt("stays").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(asked.exists(), "it was asked to end");
    assert!(!Path::new(&process).exists(), "it was made to end");
    cluster.done().await;
}

#[tokio::test]
async fn prometheus_discovers_the_pods_by_their_annotation() {
    let test = "testbed: Prometheus discovers the pods";
    let (Some(endpoint), Some(prometheus)) = (shared::kubernetes(test), shared::prometheus(test))
    else {
        return;
    };
    let cluster = Cluster::new(&endpoint, "discovery").await;
    cluster.deployment(2).await;
    let query = format!(
        "up{{namespace=\"{}\", deployment=\"web\", app=\"web\"}}",
        cluster.namespace
    );
    until("both pods are scraped", async || {
        let request = CLIENT
            .get(format!("{}/api/v1/query", prometheus.url))
            .query(&[("query", query.as_str())]);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        (answer["data"]["result"].as_array()?.len() == 2).then_some(())
    })
    .await;
    cluster.done().await;
}

#[tokio::test]
async fn a_service_account_may_do_what_its_role_says_and_nothing_else() {
    let Some(endpoint) = shared::kubernetes("testbed: a service account may do what its role says")
    else {
        return;
    };
    let cluster = Cluster::new(&endpoint, "roles").await;
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] });
    let role = json!({ "metadata": { "name": "looks" }, "rules": [rule] });
    cluster
        .api::<Role>()
        .create(
            &PostParams::default(),
            &serde_json::from_value(role).unwrap(),
        )
        .await
        .unwrap();
    let binding = json!({
        "metadata": { "name": "looks" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "looks" },
        "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": cluster.namespace }],
    });
    let binding = serde_json::from_value(binding).unwrap();
    cluster
        .api::<RoleBinding>()
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();

    let limited = endpoint
        .kubeconfig_for(&cluster.namespace, "default")
        .await
        .unwrap();
    let limited = client(&limited).await;
    let pods: Api<Pod> = Api::namespaced(limited.clone(), &cluster.namespace);
    until("the role is in force", async || {
        pods.list(&ListParams::default()).await.ok()
    })
    .await;
    let refusal = pods
        .delete("any", &DeleteParams::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&refusal, kube::Error::Api(status) if status.code == 403),
        "{refusal}"
    );
    cluster.done().await;
}
