//! The connection to one cluster. Every request has a timeout, and every error is classified.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Event;
use kube::api::{ListParams, Patch, PatchParams, ValidationDirective};
use kube::core::DynamicObject;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::config::KubernetesConfig;
use super::error::{ApiError, classify, short};
pub use super::login::ConnectError;
use super::login::Login;
use super::object::{Kind, Object};
use anomalyzer_domain::Target;

/// Name of our changes in the `managedFields` of the API server.
pub const FIELD_MANAGER: &str = "anomalyzer";
/// Maximum number of objects in one response.
const PAGE: u32 = 500;
/// Maximum number of pages that are read of one list.
const MOST_PAGES: usize = 10;

/// A connection to a cluster.
#[derive(Clone)]
pub struct Cluster {
    login: Arc<Login>,
    limit: Duration,
}

impl Cluster {
    /// Reads the configuration. Sends no request to the cluster yet.
    pub async fn connect(config: &KubernetesConfig) -> Result<Self, ConnectError> {
        Ok(Self {
            login: Arc::new(Login::open(config).await?),
            limit: config.request_timeout,
        })
    }

    /// Sends a request. If the server refuses the credentials, nothing was done, and the request is
    /// sent once more with new ones.
    async fn ask<T, F: Future<Output = kube::Result<T>>>(
        &self,
        what: &str,
        request: impl Fn(Client) -> F,
    ) -> Result<T, ApiError> {
        let mut repeated = false;
        loop {
            let client = self.login.client().await;
            let (client, number) =
                client.map_err(|why| ApiError::Unavailable(format!("{what}: {}", short(&why))))?;
            let Ok(answer) = timeout(self.limit, request(client)).await else {
                return Err(ApiError::Unknown(format!(
                    "{what}: the Kubernetes API did not answer within {:?}",
                    self.limit
                )));
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if repeated || !is_unauthorized(&error) || !self.login.refused(number).await {
                return Err(classify(what, error));
            }
            repeated = true;
        }
    }

    /// Returns the version of the API server.
    pub async fn version(&self) -> Result<String, ApiError> {
        let version = |client: Client| async move { client.apiserver_version().await };
        let info = self.ask("asking for the version", version).await?;
        Ok(info.git_version)
    }

    /// Reads the object of `target`.
    pub async fn get(&self, kind: Kind, target: &Target) -> Result<Object, ApiError> {
        let what = format!("reading {target}");
        let read = |client| async move { of(client, kind, target).get(&target.name).await };
        let object = self.ask(&what, read).await?;
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
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        let (what, patch) = (format!("patching {target}"), Patch::Merge(patch));
        let (parameters, patch) = (&parameters, &patch);
        let write = |client| async move {
            let api = of(client, kind, target);
            api.patch(&target.name, parameters, patch).await
        };
        let object = self.ask(&what, write).await?;
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
        let api = |client| Api::<K>::namespaced(client, namespace);
        let parameters = ListParams {
            label_selector: labels.map(str::to_owned),
            ..ListParams::default()
        };
        self.pages(api, &K::plural(&()), namespace, parameters)
            .await
    }

    /// Lists the events about the object with the given `uid`. The API server filters, because a
    /// namespace may have more events than can be read.
    pub async fn events(&self, namespace: &str, uid: &str) -> Result<Vec<Event>, ApiError> {
        let api = |client| Api::<Event>::namespaced(client, namespace);
        let parameters = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        self.pages(api, &Event::plural(&()), namespace, parameters)
            .await
    }

    /// Lists objects of a custom resource; see [`Self::list`]. Returns `None` if the cluster does
    /// not have the kind.
    pub async fn list_custom(
        &self,
        resource: &kube::core::ApiResource,
        namespace: &str,
    ) -> Result<Option<Vec<DynamicObject>>, ApiError> {
        let api = |client| Api::<DynamicObject>::namespaced_with(client, namespace, resource);
        match self
            .pages(api, &resource.plural, namespace, ListParams::default())
            .await
        {
            Ok(objects) => Ok(Some(objects)),
            Err(ApiError::NotFound(_) | ApiError::NoSuchPath(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn pages<K: Clone + DeserializeOwned + Debug>(
        &self,
        api: impl Fn(Client) -> Api<K>,
        plural: &str,
        namespace: &str,
        parameters: ListParams,
    ) -> Result<Vec<K>, ApiError> {
        let what = format!("listing {plural} in {namespace}");
        let mut parameters = parameters.limit(PAGE);
        let mut objects = Vec::new();
        for _ in 0..MOST_PAGES {
            let (api, parameters_now) = (&api, &parameters);
            let read = |client| async move { api(client).list(parameters_now).await };
            let page = self.ask(&what, read).await?;
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
        let what = format!("reading the log of {namespace}/{pod}");
        let read = |client| async move {
            let api = Api::<k8s_openapi::api::core::v1::Pod>::namespaced(client, namespace);
            api.logs(pod, parameters).await
        };
        self.ask(&what, read).await
    }
}

fn of(client: Client, kind: Kind, target: &Target) -> Api<DynamicObject> {
    Api::namespaced_with(client, &target.namespace, &kind.resource())
}

fn is_unauthorized(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 401)
}
