//! The operator `kubernetes`: acts on a cluster through a kubeconfig or a service account.
//!
//! No other part of the host uses the kube crate.

mod cluster;
mod config;
mod credential_plugin;
mod error;
mod events;
mod login;
mod logs;
mod object;
mod owners;
mod perform;
mod plan;
mod pods;
mod revision;
mod rollout;

use async_trait::async_trait;

use self::cluster::Cluster;
pub use self::cluster::ConnectError;
pub use self::config::KubernetesConfig;
use self::object::Kind;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{LogRequest, Operation, OperationId, Snapshot, Target};
use anomalyzer_operator::{Operator, OperatorError, Performed};

/// Maximum number of lines that are returned of one container.
const MOST_LINES: u32 = 10_000;

/// Operator that acts on Deployments, StatefulSets and DaemonSets, patches Ingresses, and inspects
/// Pods.
pub struct Kubernetes {
    cluster: Cluster,
}

impl Kubernetes {
    /// Reads the kubeconfig or the service account. Does not test if the cluster answers; see
    /// [`Operator::check`].
    pub async fn connect(config: &KubernetesConfig) -> Result<Self, ConnectError> {
        Ok(Self {
            cluster: Cluster::connect(config).await?,
        })
    }
}

/// Returns true if this operator handles targets of the kind of `target`.
pub fn knows(target: &Target) -> bool {
    Kind::parse(&target.kind).is_some()
}

/// Returns the kind of `target` after a check of its names, because names come from outside and
/// become part of a URL.
fn kind(target: &Target) -> Result<Kind, OperatorError> {
    let is_name = |text: &str| {
        (1..=253).contains(&text.len())
            && text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)
            })
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
    };
    let Some(kind) = Kind::parse(&target.kind) else {
        return Err(OperatorError::Unsupported(format!(
            "the Kubernetes operator knows Deployment, StatefulSet, DaemonSet, Ingress and Pod, not {}",
            target.kind
        )));
    };
    if target.cluster != "default" || !is_name(&target.namespace) || !is_name(&target.name) {
        return Err(OperatorError::NotFound(target.clone()));
    }
    Ok(kind)
}

#[async_trait]
impl Operator for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn handles(&self, target: &Target) -> bool {
        knows(target)
    }

    async fn inspect(&self, target: &Target) -> Result<Snapshot, OperatorError> {
        let kind = kind(target)?;
        let object = self
            .cluster
            .get(kind, target)
            .await
            .map_err(|error| error.of_read(target))?;
        let (belongings, autoscaler) = futures::try_join!(
            pods::of(&self.cluster, &object),
            owners::autoscaler(&self.cluster, target)
        )
        .map_err(|error| error.of_read(target))?;
        let events = events::of(&self.cluster, &object, &belongings)
            .await
            .map_err(|error| error.of_read(target))?;
        Ok(Snapshot {
            target: target.clone(),
            at: now_ms(),
            version: object.version(),
            replicas: object.replicas(),
            rolling_out: rollout::rolling_out(&object),
            autoscaler,
            managed_by: owners::managed_by(&object),
            last_operation: object.mark().map(str::to_owned),
            changed_by: owners::changed_by(&object),
            pods: belongings.pods.iter().map(pods::summary).collect(),
            events: events::newest(&events),
            raw: object.shown(),
        })
    }

    async fn read_logs(&self, request: &LogRequest) -> Result<Vec<String>, OperatorError> {
        let target = &request.target;
        let object = self
            .cluster
            .get(kind(target)?, target)
            .await
            .map_err(|error| error.of_read(target))?;
        let belongings = pods::of(&self.cluster, &object)
            .await
            .map_err(|error| error.of_read(target))?;
        let lines = request.lines.min(MOST_LINES);
        Ok(logs::read(
            &self.cluster,
            &target.namespace,
            &belongings.pods,
            lines,
            request.previous,
        )
        .await)
    }

    async fn perform(
        &self,
        id: &OperationId,
        operation: &Operation,
        basis: &Snapshot,
    ) -> Result<Performed, OperatorError> {
        let Some(target) = operation.target() else {
            return Err(OperatorError::Unsupported(format!(
                "the Kubernetes operator cannot do `{}`",
                operation.kind()
            )));
        };
        perform::perform(&self.cluster, kind(target)?, target, id, operation, basis).await
    }

    async fn check(&self) -> Result<(), OperatorError> {
        let version = self.cluster.version().await;
        version.map(|_| ()).map_err(|error| match error {
            error::ApiError::Refused(why) => OperatorError::Refused(why),
            error::ApiError::NotFound(why)
            | error::ApiError::Conflict(why)
            | error::ApiError::NoSuchPath(why)
            | error::ApiError::Unavailable(why)
            | error::ApiError::Unknown(why) => OperatorError::Unavailable(why),
        })
    }
}
