//! The connection to one cluster. Every request has a timeout, and every error is classified.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Event;
use kube::api::{ListParams, Patch, PatchParams, ValidationDirective};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::DynamicObject;
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::config::KubernetesConfig;
use super::error::{ApiError, classify};
use super::object::{Kind, Object};
use anomalyzer_common::http_client::install_tls_provider;
use anomalyzer_domain::Target;

/// Name of our changes in the `managedFields` of the API server.
const FIELD_MANAGER: &str = "anomalyzer";
/// Maximum number of objects in one response.
const PAGE: u32 = 500;
/// Maximum number of pages that are read of one list.
const MOST_PAGES: usize = 10;

/// Reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Unusable kubeconfig.
    #[error("cannot use the kubeconfig {path}: {error}")]
    Kubeconfig {
        /// Path of the file.
        path: String,
        /// Cause of the failure.
        error: String,
    },
    /// Missing service account.
    #[error(
        "no kubeconfig is configured and this does not run in a pod ({0}): set kubernetes.kubeconfig"
    )]
    NotInCluster(String),
    /// Failure to make the client.
    #[error("cannot make a Kubernetes client: {0}")]
    Client(String),
}

/// A connection to a cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    limit: Duration,
}

impl Cluster {
    /// Reads the configuration. Sends no request to the cluster yet.
    pub async fn connect(config: &KubernetesConfig) -> Result<Self, ConnectError> {
        install_tls_provider();
        let mut access = match &config.kubeconfig {
            Some(path) => {
                let wrong = |error: kube::config::KubeconfigError| ConnectError::Kubeconfig {
                    path: path.display().to_string(),
                    error: error.to_string(),
                };
                let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
                let options = KubeConfigOptions {
                    context: config.context.clone(),
                    ..KubeConfigOptions::default()
                };
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(wrong)?
            }
            None => Config::incluster()
                .map_err(|error| ConnectError::NotInCluster(error.to_string()))?,
        };
        // The host does its own retries. Those of kube wait for minutes and know nothing of marks.
        access.default_retry = false;
        access.connect_timeout = Some(config.request_timeout);
        access.read_timeout = Some(config.request_timeout);
        access.write_timeout = Some(config.request_timeout);
        access.reset_reader_on_write = true;
        let client =
            Client::try_from(access).map_err(|error| ConnectError::Client(error.to_string()))?;
        Ok(Self {
            client,
            limit: config.request_timeout,
        })
    }

    async fn ask<T>(
        &self,
        what: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApiError> {
        match timeout(self.limit, request).await {
            Ok(answer) => answer.map_err(|error| classify(what, error)),
            Err(_late) => Err(ApiError::Unknown(format!(
                "{what}: the Kubernetes API did not answer within {:?}",
                self.limit
            ))),
        }
    }

    fn dynamic(&self, kind: Kind, target: &Target) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &target.namespace, &kind.resource())
    }

    /// Returns the version of the API server.
    pub async fn version(&self) -> Result<String, ApiError> {
        self.ask("asking for the version", self.client.apiserver_version())
            .await
            .map(|info| info.git_version)
    }

    /// Reads the object of `target`.
    pub async fn get(&self, kind: Kind, target: &Target) -> Result<Object, ApiError> {
        let api = self.dynamic(kind, target);
        let object = self
            .ask(&format!("reading {target}"), api.get(&target.name))
            .await?;
        Ok(Object { kind, object })
    }

    /// Applies a merge patch. The API server refuses fields that it does not know instead of
    /// dropping them.
    pub async fn patch(
        &self,
        kind: Kind,
        target: &Target,
        patch: &Value,
    ) -> Result<Object, ApiError> {
        let api = self.dynamic(kind, target);
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch);
        let object = self
            .ask(
                &format!("patching {target}"),
                api.patch(&target.name, &parameters, &patch),
            )
            .await?;
        Ok(Object { kind, object })
    }

    /// Lists the objects of a namespace, at most 5,000.
    pub async fn list<K>(&self, namespace: &str, labels: Option<&str>) -> Result<Vec<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let parameters = ListParams {
            label_selector: labels.map(str::to_owned),
            ..ListParams::default()
        };
        self.pages(&api, &K::plural(&()), namespace, parameters)
            .await
    }

    /// Lists the events about the object with the given `uid`. The API server filters, because a
    /// namespace may have more events than can be read.
    pub async fn events(&self, namespace: &str, uid: &str) -> Result<Vec<Event>, ApiError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let parameters = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        self.pages(&api, &Event::plural(&()), namespace, parameters)
            .await
    }

    /// Lists objects of a custom resource; see [`Self::list`]. Returns `None` if the cluster does
    /// not have the kind.
    pub async fn list_custom(
        &self,
        resource: &kube::core::ApiResource,
        namespace: &str,
    ) -> Result<Option<Vec<DynamicObject>>, ApiError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, resource);
        match self
            .pages(&api, &resource.plural, namespace, ListParams::default())
            .await
        {
            Ok(objects) => Ok(Some(objects)),
            Err(ApiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn pages<K: Clone + DeserializeOwned + Debug>(
        &self,
        api: &Api<K>,
        plural: &str,
        namespace: &str,
        parameters: ListParams,
    ) -> Result<Vec<K>, ApiError> {
        let what = format!("listing {plural} in {namespace}");
        let mut parameters = parameters.limit(PAGE);
        let mut objects = Vec::new();
        for _ in 0..MOST_PAGES {
            let page = self.ask(&what, api.list(&parameters)).await?;
            objects.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => break,
            }
        }
        Ok(objects)
    }

    /// Returns the last lines of one container's log.
    pub async fn log(
        &self,
        namespace: &str,
        pod: &str,
        parameters: &kube::api::LogParams,
    ) -> Result<String, ApiError> {
        let api: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(self.client.clone(), namespace);
        self.ask(
            &format!("reading the log of {namespace}/{pod}"),
            api.logs(pod, parameters),
        )
        .await
    }
}
