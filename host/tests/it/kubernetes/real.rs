//! Tests against the real control plane. The tests set up and check the cluster with kubectl.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anomalyzer_domain::{
    LogRequest, MergePatch, Operation, OperationId, Replicas, Snapshot, Target,
};
use anomalyzer_operator::{Operator, OperatorError, Performed};
use anomalyzer_operator_kubernetes::{Kubernetes, KubernetesConfig};
use anomalyzer_testbed::{KubernetesEndpoint, shared};
use serde_json::{Value, json};

use crate::wait::until;

const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A separate namespace on the shared cluster.
struct Shop {
    endpoint: KubernetesEndpoint,
    kubernetes: Kubernetes,
    namespace: String,
    operations: u32,
}

impl Shop {
    async fn open(endpoint: KubernetesEndpoint, name: &str) -> Self {
        let config = KubernetesConfig {
            kubeconfig: Some(endpoint.kubeconfig.clone()),
            ..KubernetesConfig::default()
        };
        let kubernetes = Kubernetes::connect(&config).await.unwrap();
        // A name cannot be reused while its namespace is being deleted, so make it unique.
        let namespace = format!("act-{name}-{}", std::process::id());
        let shop = Self {
            endpoint,
            kubernetes,
            namespace,
            operations: 0,
        };
        shop.kubectl(&["create", "namespace", &shop.namespace], None);
        until("the service account", TEST_TIMEOUT, async || {
            shop.try_kubectl(&["get", "serviceaccount", "default"], None)
                .ok()
        })
        .await;
        shop
    }

    fn close(self) {
        self.kubectl(
            &["delete", "namespace", &self.namespace, "--wait=false"],
            None,
        );
    }

    fn try_kubectl(&self, arguments: &[&str], input: Option<&Value>) -> Result<String, String> {
        let mut child = Command::new(&self.endpoint.kubectl)
            .arg("--kubeconfig")
            .arg(&self.endpoint.kubeconfig)
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if let Some(input) = input {
            child
                .stdin
                .take()
                .unwrap()
                .write_all(input.to_string().as_bytes())
                .unwrap();
        }
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn kubectl(&self, arguments: &[&str], input: Option<&Value>) -> String {
        self.try_kubectl(arguments, input)
            .unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    fn apply(&self, object: &Value) {
        self.kubectl(&["apply", "-f", "-"], Some(object));
    }

    fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"], None)).unwrap()
    }

    fn target(&self, kind: &str) -> Target {
        Target::new(&self.namespace, kind, "web")
    }

    async fn inspect(&self, kind: &str) -> Snapshot {
        self.kubernetes.inspect(&self.target(kind)).await.unwrap()
    }

    /// Waits until the target is at rest with `ready` ready replicas and no other replicas.
    async fn at_rest(&self, kind: &str, ready: u32) -> Snapshot {
        until(&format!("{kind} at rest"), TEST_TIMEOUT, async || {
            let snapshot = self.inspect(kind).await;
            let wanted = Replicas {
                desired: ready,
                ready,
            };
            let there = snapshot.replicas == Some(wanted) && snapshot.pods.len() == ready as usize;
            (there && !snapshot.rolling_out).then_some(snapshot)
        })
        .await
    }

    async fn try_perform(
        &mut self,
        operation: &Operation,
        basis: &Snapshot,
    ) -> Result<Performed, OperatorError> {
        self.operations += 1;
        let id = OperationId::from(format!("op-{}", self.operations));
        self.kubernetes.perform(&id, operation, basis).await
    }

    async fn perform(&mut self, operation: &Operation) -> Performed {
        let kind = operation.target().unwrap().kind.clone();
        let basis = self.inspect(&kind).await;
        let performed = self.try_perform(operation, &basis).await.unwrap();
        let mark = self.inspect(&kind).await.last_operation;
        assert_eq!(mark, Some(format!("op-{}", self.operations)));
        performed
    }

    async fn logs(&self, kind: &str, previous: bool) -> Vec<String> {
        let request = LogRequest {
            target: self.target(kind),
            lines: 5,
            previous,
        };
        self.kubernetes.read_logs(&request).await.unwrap()
    }
}

fn template(script: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "web", "image": "shell", "args": ["-c", script]}]
        }
    })
}

fn deployment(replicas: u32, script: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(script)}
    })
}

const SERVE: &str = "echo hello from $HOSTNAME; exec sleep 100000";

#[tokio::test]
async fn a_snapshot_shows_replicas_pods_events_and_who_else_has_a_hand_on_it() {
    let Some(endpoint) = shared::kubernetes("a snapshot shows what the cluster knows") else {
        return;
    };
    let shop = Shop::open(endpoint, "inspect").await;
    shop.apply(&deployment(2, SERVE));
    // The stray pod has the same labels but no owner.
    let mut stray = template(SERVE);
    stray["apiVersion"] = "v1".into();
    stray["kind"] = "Pod".into();
    stray["metadata"]["name"] = "stray".into();
    shop.apply(&stray);
    let snapshot = shop.at_rest("Deployment", 2).await;
    assert!(
        snapshot
            .pods
            .iter()
            .all(|pod| pod.ready && pod.phase == "Running" && pod.name.starts_with("web-"))
    );
    assert!(
        snapshot
            .events
            .iter()
            .any(|event| event.contains("ScalingReplicaSet Deployment/web")),
        "{:?}",
        snapshot.events
    );
    assert!(
        snapshot
            .events
            .iter()
            .any(|event| event.contains("Scheduled Pod/web-")),
        "{:?}",
        snapshot.events
    );
    assert_eq!((snapshot.autoscaler, snapshot.managed_by.len()), (None, 0));
    let raw = shop.get("deployment", "web");
    assert_eq!(snapshot.raw["spec"], raw["spec"]);
    assert_eq!(snapshot.raw["metadata"]["uid"], raw["metadata"]["uid"]);

    shop.apply(&json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web-hpa"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 5,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]
        }
    }));
    shop.kubectl(
        &[
            "label",
            "deployment",
            "web",
            "app.kubernetes.io/managed-by=Helm",
        ],
        None,
    );
    let snapshot = shop.inspect("Deployment").await;
    let autoscaler = snapshot.autoscaler.unwrap();
    assert_eq!(
        (autoscaler.name.as_str(), autoscaler.min, autoscaler.max),
        ("web-hpa", 2, 5)
    );
    assert_eq!(snapshot.managed_by, ["helm"]);

    let pod = Target::new(&shop.namespace, "Pod", "stray");
    let snapshot = shop.kubernetes.inspect(&pod).await.unwrap();
    assert_eq!((snapshot.replicas, snapshot.pods.len()), (None, 1));
    let restart = shop
        .kubernetes
        .perform(
            &OperationId::from("op"),
            &Operation::Restart { target: pod },
            &snapshot,
        )
        .await;
    assert!(
        matches!(restart, Err(OperatorError::Unsupported(_))),
        "{restart:?}"
    );
    let unknown = shop
        .kubernetes
        .inspect(&Target::new(&shop.namespace, "Deployment", "other"))
        .await;
    assert!(
        matches!(unknown, Err(OperatorError::NotFound(_))),
        "{unknown:?}"
    );
    shop.kubernetes.check().await.unwrap();
    shop.close();
}

#[tokio::test]
async fn scaling_is_done_once_through_moving_status_and_refused_on_a_changed_spec() {
    let Some(endpoint) =
        shared::kubernetes("scaling is done once, on the state that was looked at")
    else {
        return;
    };
    let mut shop = Shop::open(endpoint, "scale").await;
    shop.apply(&deployment(1, SERVE));
    let scale = |shop: &Shop, replicas| Operation::Scale {
        target: shop.target("Deployment"),
        replicas,
    };
    let first = shop.at_rest("Deployment", 1).await;
    // This patch of the status changes the resourceVersion and nothing else.
    shop.kubectl(
        &[
            "patch",
            "deployment",
            "web",
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status":{"collisionCount":1}}"#,
        ],
        None,
    );
    let version = |value: &Value| value["metadata"]["resourceVersion"].clone();
    assert_ne!(version(&first.raw), version(&shop.get("deployment", "web")));
    let up = scale(&shop, 3);
    let performed = shop.try_perform(&up, &first).await.unwrap();
    assert_eq!(performed.before, Some(json!({"spec": {"replicas": 1}})));
    let there = shop.get("deployment", "web");
    assert_eq!(there["spec"]["replicas"], 3);
    assert_eq!(
        there["metadata"]["annotations"]["anomalyzer.dev/operation"],
        "op-1"
    );
    shop.at_rest("Deployment", 3).await;

    let again = shop
        .kubernetes
        .perform(&OperationId::from("op-1"), &up, &first)
        .await
        .unwrap();
    assert_eq!(again.result, json!({"already": "done"}));
    assert_eq!(
        shop.get("deployment", "web")["metadata"]["generation"],
        there["metadata"]["generation"]
    );

    let basis = shop.inspect("Deployment").await;
    shop.kubectl(&["scale", "deployment", "web", "--replicas=2"], None);
    let down = scale(&shop, 1);
    let late = shop.try_perform(&down, &basis).await;
    assert!(matches!(late, Err(OperatorError::Conflict(_))), "{late:?}");
    assert_eq!(shop.get("deployment", "web")["spec"]["replicas"], 2);
    shop.close();
}

#[tokio::test]
async fn of_many_servers_that_act_on_the_same_state_one_does() {
    let Some(endpoint) = shared::kubernetes("of many servers one acts") else {
        return;
    };
    let shop = Shop::open(endpoint, "race").await;
    shop.apply(&deployment(1, SERVE));
    let basis = shop.at_rest("Deployment", 1).await;
    let scale = |replicas| Operation::Scale {
        target: shop.target("Deployment"),
        replicas,
    };
    let attempts = (0..8).map(|server| {
        let (operation, basis, kubernetes) = (scale(2 + server), &basis, &shop.kubernetes);
        async move {
            kubernetes
                .perform(
                    &OperationId::from(format!("op-{server}")),
                    &operation,
                    basis,
                )
                .await
        }
    });
    let results = futures::future::join_all(attempts).await;
    let done = results.iter().filter(|result| result.is_ok()).count();
    let late = results
        .iter()
        .filter(|result| matches!(result, Err(OperatorError::Conflict(_))))
        .count();
    assert_eq!((done, late), (1, 7), "{results:?}");

    let basis = shop.inspect("Deployment").await;
    let same = scale(1);
    let id = OperationId::from("op-same");
    let attempts = (0..8).map(|_| shop.kubernetes.perform(&id, &same, &basis));
    for result in futures::future::join_all(attempts).await {
        result.unwrap();
    }
    let generation = |value: &Value| value["metadata"]["generation"].as_u64().unwrap();
    assert_eq!(
        generation(&shop.get("deployment", "web")),
        generation(&basis.raw) + 1
    );
    shop.close();
}

#[tokio::test]
async fn a_restart_replaces_all_pods_as_kubectl_rollout_restart_does() {
    let Some(endpoint) = shared::kubernetes("a restart replaces all pods") else {
        return;
    };
    let mut shop = Shop::open(endpoint, "restart").await;
    shop.apply(&deployment(2, SERVE));
    let names = |snapshot: &Snapshot| {
        snapshot
            .pods
            .iter()
            .map(|pod| pod.name.clone())
            .collect::<Vec<_>>()
    };
    let before = names(&shop.at_rest("Deployment", 2).await);
    let restart = Operation::Restart {
        target: shop.target("Deployment"),
    };
    shop.perform(&restart).await;
    assert!(shop.inspect("Deployment").await.rolling_out);
    let after = names(&shop.at_rest("Deployment", 2).await);
    assert!(
        after.iter().all(|name| !before.contains(name)),
        "{before:?} {after:?}"
    );
    let there = shop.get("deployment", "web");
    assert!(
        there["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"]
            .is_string()
    );
    shop.kubectl(&["rollout", "pause", "deployment", "web"], None);
    let basis = shop.inspect("Deployment").await;
    let refused = shop.try_perform(&restart, &basis).await;
    assert!(
        matches!(refused, Err(OperatorError::Refused(_))),
        "{refused:?}"
    );
    shop.close();
}

#[tokio::test]
async fn a_bad_patch_is_rolled_back_to_the_template_before() {
    let Some(endpoint) = shared::kubernetes("a bad patch is rolled back") else {
        return;
    };
    let mut shop = Shop::open(endpoint, "rollback").await;
    shop.apply(&deployment(2, SERVE));
    shop.at_rest("Deployment", 2).await;
    let target = shop.target("Deployment");
    let basis = shop.inspect("Deployment").await;
    let refused = shop
        .try_perform(
            &Operation::RollBack {
                target: target.clone(),
            },
            &basis,
        )
        .await;
    assert!(
        matches!(refused, Err(OperatorError::Refused(_))),
        "there is nothing before the first: {refused:?}"
    );

    let good = shop.get("deployment", "web")["spec"]["template"].clone();
    let mut container = good["spec"]["containers"][0].clone();
    container["image"] = "no-such-image".into();
    container["env"] = json!([{"name": "MODE", "value": "broken"}]);
    let patch = json!({"spec": {"template": {"metadata": {"labels": {"tier": "bad"}}, "spec": {"containers": [container]}}}});
    shop.perform(&Operation::Patch(MergePatch {
        target: target.clone(),
        patch,
    }))
    .await;
    until("the bad image is told", TEST_TIMEOUT, async || {
        let pods = shop.inspect("Deployment").await.pods;
        pods.iter()
            .any(|pod| {
                pod.reason
                    .as_deref()
                    .is_some_and(|reason| reason.contains("Image"))
            })
            .then_some(())
    })
    .await;
    assert!(shop.inspect("Deployment").await.rolling_out);
    shop.perform(&Operation::RollBack { target }).await;
    shop.at_rest("Deployment", 2).await;
    assert_eq!(shop.get("deployment", "web")["spec"]["template"], good);
    shop.close();
}

#[tokio::test]
async fn a_patch_says_how_to_take_it_back_and_a_field_that_is_none_is_refused() {
    let Some(endpoint) = shared::kubernetes("a patch can be taken back") else {
        return;
    };
    let mut shop = Shop::open(endpoint, "patch").await;
    shop.apply(&deployment(1, SERVE));
    shop.at_rest("Deployment", 1).await;
    let target = shop.target("Deployment");
    let patch = |patch: Value| {
        Operation::Patch(MergePatch {
            target: target.clone(),
            patch,
        })
    };
    let limit = patch(
        json!({"metadata": {"annotations": {"limit-rps": "5"}}, "spec": {"minReadySeconds": 1}}),
    );
    let performed = shop.perform(&limit).await;
    let there = shop.get("deployment", "web");
    assert_eq!(
        (
            &there["metadata"]["annotations"]["limit-rps"],
            &there["spec"]["minReadySeconds"]
        ),
        (&json!("5"), &json!(1))
    );
    shop.perform(&patch(performed.before.unwrap())).await;
    let there = shop.get("deployment", "web");
    assert_eq!(
        (
            &there["metadata"]["annotations"]["limit-rps"],
            &there["spec"]["minReadySeconds"]
        ),
        (&Value::Null, &Value::Null)
    );
    for wrong in [
        json!({"spec": {"replcas": 3}}),
        json!({"spec": {"replicas": -1}}),
        json!({"spec": {"selector": {"matchLabels": {"x": "y"}}}}),
    ] {
        let basis = shop.inspect("Deployment").await;
        let refused = shop.try_perform(&patch(wrong.clone()), &basis).await;
        assert!(
            matches!(refused, Err(OperatorError::Refused(_))),
            "{wrong}: {refused:?}"
        );
    }
    shop.close();
}

fn ingress() -> Value {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"},
        "spec": {"rules": [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]}
    })
}

/// Returns the operation that `rate_limit` asks for if `[[rate_limit]]` names the Ingress.
fn limit(shop: &Shop, rate: &str) -> Operation {
    let patch =
        json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/limit-rps": rate}}});
    Operation::Patch(MergePatch {
        target: shop.target("Ingress"),
        patch,
    })
}

#[tokio::test]
async fn the_rate_limit_of_an_ingress_is_set_with_its_mark_and_can_be_taken_back() {
    let Some(endpoint) = shared::kubernetes("the rate limit of an ingress is set") else {
        return;
    };
    let mut shop = Shop::open(endpoint, "ingress").await;
    shop.apply(&ingress());
    let snapshot = shop.inspect("Ingress").await;
    assert_eq!(
        (snapshot.replicas, snapshot.rolling_out, snapshot.pods.len()),
        (None, false, 0)
    );
    let set = limit(&shop, "50");
    let performed = shop.perform(&set).await;
    let annotations = |shop: &Shop| shop.get("ingress", "web")["metadata"]["annotations"].clone();
    assert_eq!(
        annotations(&shop)["nginx.ingress.kubernetes.io/limit-rps"],
        "50"
    );
    let target = shop.target("Ingress");
    let restart = Operation::Restart {
        target: target.clone(),
    };
    let basis = shop.inspect("Ingress").await;
    let refused = shop.try_perform(&restart, &basis).await;
    assert!(
        matches!(refused, Err(OperatorError::Unsupported(_))),
        "{refused:?}"
    );
    // The generation does not reflect annotations, but the mark of the earlier operation does.
    let late = shop.try_perform(&limit(&shop, "10"), &snapshot).await;
    assert!(matches!(late, Err(OperatorError::Conflict(_))), "{late:?}");
    shop.perform(&Operation::Patch(MergePatch {
        target,
        patch: performed.before.unwrap(),
    }))
    .await;
    assert_eq!(
        annotations(&shop)["nginx.ingress.kubernetes.io/limit-rps"],
        Value::Null
    );
    shop.close();
}

#[tokio::test]
async fn logs_come_from_all_pods_and_from_the_run_before_a_crash() {
    let Some(endpoint) = shared::kubernetes("logs come from all pods and from the run before")
    else {
        return;
    };
    let shop = Shop::open(endpoint, "logs").await;
    shop.apply(&deployment(
        2,
        "for i in 1 2 3 4 5 6 7; do echo line $i; done; exec sleep 100000",
    ));
    let snapshot = shop.at_rest("Deployment", 2).await;
    let logs = until("all lines", TEST_TIMEOUT, async || {
        Some(shop.logs("Deployment", false).await).filter(|logs| logs.len() == 10)
    })
    .await;
    for pod in &snapshot.pods {
        assert!(
            logs.contains(&format!("{}: line 3", pod.name))
                && logs.contains(&format!("{}: line 7", pod.name)),
            "{logs:?}"
        );
        assert!(!logs.contains(&format!("{}: line 2", pod.name)), "{logs:?}");
    }
    assert_eq!(shop.logs("Deployment", true).await, Vec::<String>::new());
    shop.apply(&deployment(1, "echo about to fall; exit 3"));
    let crashed = until("a crash", TEST_TIMEOUT, async || {
        let snapshot = shop.inspect("Deployment").await;
        let found = snapshot
            .pods
            .iter()
            .any(|pod| pod.restarts > 0 && pod.reason.is_some());
        found.then_some(snapshot)
    })
    .await;
    let reasons: Vec<_> = crashed
        .pods
        .iter()
        .filter_map(|pod| pod.reason.as_deref())
        .collect();
    assert!(
        reasons
            .iter()
            .any(|reason| ["CrashLoopBackOff", "Error"].contains(reason)),
        "{reasons:?}"
    );
    until("the last words", TEST_TIMEOUT, async || {
        let logs = shop.logs("Deployment", true).await;
        logs.iter()
            .any(|line| line.ends_with(": about to fall"))
            .then_some(())
    })
    .await;
    shop.close();
}

#[tokio::test]
async fn stateful_and_daemon_sets_are_restarted_and_rolled_back_too() {
    let Some(endpoint) = shared::kubernetes("stateful and daemon sets are healed too") else {
        return;
    };
    let mut shop = Shop::open(endpoint, "sets").await;
    let selector = json!({"matchLabels": {"app": "web"}});
    shop.apply(&json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "serviceName": "web", "selector": selector, "template": template(SERVE)}
    }));
    let mut daemon = template(SERVE);
    daemon["metadata"]["labels"] = json!({"app": "daemon"});
    shop.apply(&json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "daemon"}}, "template": daemon}
    }));
    for (kind, replicas) in [("StatefulSet", 2), ("DaemonSet", 1)] {
        shop.at_rest(kind, replicas).await;
        let original = shop.get(kind, "web")["spec"]["template"].clone();
        shop.perform(&Operation::Restart {
            target: shop.target(kind),
        })
        .await;
        shop.at_rest(kind, replicas).await;
        assert_ne!(shop.get(kind, "web")["spec"]["template"], original);
        shop.perform(&Operation::RollBack {
            target: shop.target(kind),
        })
        .await;
        shop.at_rest(kind, replicas).await;
        assert_eq!(
            shop.get(kind, "web")["spec"]["template"],
            original,
            "{kind}"
        );
    }
    shop.perform(&Operation::Scale {
        target: shop.target("StatefulSet"),
        replicas: 1,
    })
    .await;
    shop.at_rest("StatefulSet", 1).await;
    let basis = shop.inspect("DaemonSet").await;
    let scale = Operation::Scale {
        target: shop.target("DaemonSet"),
        replicas: 2,
    };
    let refused = shop.try_perform(&scale, &basis).await;
    assert!(
        matches!(refused, Err(OperatorError::Unsupported(_))),
        "{refused:?}"
    );
    shop.close();
}

#[tokio::test]
async fn a_scaled_object_of_keda_is_seen_where_the_cluster_has_them() {
    let Some(endpoint) = shared::kubernetes("a scaled object of KEDA is seen") else {
        return;
    };
    let shop = Shop::open(endpoint, "keda").await;
    shop.apply(&deployment(1, SERVE));
    shop.apply(&json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {
            "group": "keda.sh", "scope": "Namespaced",
            "names": {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}
            }}}]
        }
    }));
    let scaled = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "by-queue"},
        "spec": {"scaleTargetRef": {"name": "web"}, "minReplicaCount": 1, "maxReplicaCount": 9}
    });
    until("the kind is served", TEST_TIMEOUT, async || {
        shop.try_kubectl(&["apply", "-f", "-"], Some(&scaled)).ok()
    })
    .await;
    let autoscaler = shop.inspect("Deployment").await.autoscaler.unwrap();
    assert_eq!(
        (
            autoscaler.kind.as_str(),
            autoscaler.name.as_str(),
            autoscaler.max
        ),
        ("ScaledObject", "by-queue", 9)
    );
    shop.close();
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one scenario in order")]
async fn the_rights_in_deploy_are_enough_and_no_more_than_needed() {
    let Some(endpoint) = shared::kubernetes("the rights in deploy are enough") else {
        return;
    };
    let mut shop = Shop::open(endpoint, "rbac").await;
    shop.apply(&deployment(1, SERVE));
    shop.at_rest("Deployment", 1).await;
    let manifest = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/kubernetes/rbac.yaml"
    );
    shop.kubectl(
        &["apply", "-f", manifest, "--namespace", "anomalyzer"],
        None,
    );
    shop.kubectl(&["create", "serviceaccount", "nobody"], None);
    let token = |account: &str, namespace: &str| {
        shop.kubectl(
            &["create", "token", account, "--namespace", namespace],
            None,
        )
        .trim()
        .to_owned()
    };
    let admin: Value = serde_json::from_str(&shop.kubectl(
        &["config", "view", "--raw", "--flatten", "-o", "json"],
        None,
    ))
    .unwrap();
    let connect = async |token: String| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut kubeconfig = admin.clone();
        for user in kubeconfig["users"].as_array_mut().unwrap() {
            user["user"] = json!({ "token": token });
        }
        std::fs::write(file.path(), kubeconfig.to_string()).unwrap();
        let config = KubernetesConfig {
            kubeconfig: Some(file.path().to_owned()),
            ..KubernetesConfig::default()
        };
        Kubernetes::connect(&config).await.unwrap()
    };
    let nobody = connect(token("nobody", &shop.namespace)).await;
    let refused = nobody
        .inspect(&shop.target("Deployment"))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, OperatorError::Refused(why) if why.contains("deploy/kubernetes/rbac.yaml")),
        "{refused:?}"
    );
    let stranger = connect("no-token".to_owned()).await;
    let refused = stranger
        .inspect(&shop.target("Deployment"))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, OperatorError::Refused(why) if why.contains("credentials")),
        "{refused:?}"
    );

    shop.kubernetes = connect(token("anomalyzer", "anomalyzer")).await;
    let target = shop.target("Deployment");
    shop.kubernetes.check().await.unwrap();
    assert!(!shop.logs("Deployment", false).await.is_empty());
    shop.perform(&Operation::Scale {
        target: target.clone(),
        replicas: 2,
    })
    .await;
    shop.at_rest("Deployment", 2).await;
    shop.perform(&Operation::Restart {
        target: target.clone(),
    })
    .await;
    shop.at_rest("Deployment", 2).await;
    shop.perform(&Operation::RollBack { target }).await;
    shop.at_rest("Deployment", 2).await;
    shop.apply(&ingress());
    shop.perform(&limit(&shop, "50")).await;
    let may = |what: &str| {
        let account = "--as=system:serviceaccount:anomalyzer:anomalyzer";
        let question = ["auth", "can-i"]
            .into_iter()
            .chain(what.split(' '))
            .chain([account]);
        shop.try_kubectl(&question.collect::<Vec<_>>(), None)
            .is_ok()
    };
    assert!(
        may("patch deployments") && may("get pods --subresource=log") && may("patch ingresses")
    );
    for what in [
        "delete ingresses",
        "list ingresses",
        "delete deployments",
        "update deployments",
        "delete pods",
        "create pods",
        "create pods --subresource=exec",
        "get secrets",
    ] {
        assert!(!may(what), "it may {what}");
    }
    shop.close();
}
