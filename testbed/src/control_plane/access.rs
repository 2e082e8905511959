//! Kubeconfigs, and clients that use them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::certificates::Identity;

/// Writes a kubeconfig for `identity` to `path`, as JSON, which is valid YAML.
pub(super) fn write(
    path: &Path,
    server: &str,
    authority: &Path,
    identity: &Identity,
) -> Result<()> {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "testbed", "cluster": { "server": server, "certificate-authority": authority } }],
        "users": [{
            "name": "testbed",
            "user": { "client-certificate": identity.certificate, "client-key": identity.key },
        }],
        "contexts": [{ "name": "testbed", "context": { "cluster": "testbed", "user": "testbed", "namespace": "default" } }],
        "current-context": "testbed",
    });
    Ok(std::fs::write(
        path,
        serde_json::to_vec_pretty(&kubeconfig)?,
    )?)
}

/// Writes a kubeconfig for a service account beside the administrator's. Its token is valid for an
/// hour.
pub(crate) async fn for_service_account(
    administrator: &Path,
    namespace: &str,
    name: &str,
) -> Result<PathBuf> {
    let request = json!({ "spec": { "audiences": [], "expirationSeconds": 3_600 } });
    let accounts: Api<ServiceAccount> = Api::namespaced(client(administrator).await?, namespace);
    let answer: TokenRequest = accounts
        .create_subresource("token", name, &PostParams::default(), &request)
        .await
        .with_context(|| format!("no token for the service account {namespace}/{name}"))?;
    let token = answer.status.context("the API server gave no token")?.token;
    let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(administrator)?)?;
    kubeconfig["users"][0]["user"] = json!({ "token": token });
    let path = administrator.with_file_name(format!("kubeconfig-{namespace}-{name}"));
    std::fs::write(&path, serde_json::to_vec_pretty(&kubeconfig)?)?;
    Ok(path)
}

/// Returns a client that fails at once, where kube's default would retry. The caller decides about
/// retries.
pub(super) async fn client(kubeconfig: &Path) -> Result<Client> {
    crate::tls::choose_provider();
    let mut config = Config::from_custom_kubeconfig(
        Kubeconfig::read_from(kubeconfig)?,
        &KubeConfigOptions::default(),
    )
    .await?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(Client::try_from(config)?)
}
