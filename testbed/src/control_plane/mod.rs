//! A Kubernetes control plane with one node, which this crate implements.

pub(crate) mod access;
mod certificates;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::{Api, Client};

use crate::folder::Folder;
use crate::kubelet::{Addresses, Kubelet, KubeletOptions};
use crate::process::Process;
use crate::{http, install, ports, spawner};
pub(crate) use certificates::Identity;

use certificates::Certificates;

const READY_WITHIN: Duration = Duration::from_secs(120);
const STOP_GRACE: Duration = Duration::from_secs(15);

/// Settings of a control plane.
#[derive(Debug, Default)]
pub struct ControlPlaneOptions {
    /// Programs that stand for images: `anomalyzer:dev` → the built program. `shell` → `/bin/sh` is
    /// always present.
    pub images: BTreeMap<String, PathBuf>,
    /// Socket on which Prometheus asks for the pods (`/sd`). Without one, the kubelet uses a free
    /// port.
    pub discovery: Option<TcpListener>,
}

/// A running control plane and its node. Dropping it kills the pods, then the servers, the API
/// server before etcd.
pub struct ControlPlane {
    // Fields are dropped in this order.
    kubelet: Kubelet,
    scheduler: Process,
    controllers: Process,
    api_server: Process,
    etcd: Process,
    client: Client,
    server: String,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    folder: Folder,
}

impl ControlPlane {
    /// Installs missing programs, starts all servers on free ports, and waits until the node
    /// accepts pods.
    pub async fn start(options: ControlPlaneOptions) -> Result<Self> {
        let (etcd, kubernetes) = tokio::try_join!(install::etcd(), install::kubernetes())?;
        let folder = Folder::new("kubernetes")?;
        let addresses = Addresses::claim()?;
        let certificates = Certificates::write(folder.path(), addresses.node())?;
        let (etcd, etcd_url) = start_etcd(etcd, folder.path()).await?;

        let port = ports::free()?;
        let server = format!("https://127.0.0.1:{port}");
        let kubeconfig = folder.path().join("kubeconfig");
        access::write(
            &kubeconfig,
            &server,
            &certificates.authority,
            &certificates.admin,
        )?;
        let command = api_server(&kubernetes, &certificates, &etcd_url, port);
        let mut api_server = Process::start(
            "kube-apiserver",
            command,
            &folder.path().join("kube-apiserver.log"),
        )?;
        let readyz = format!("{server}/readyz");
        api_server.ready(READY_WITHIN, || http::ok(&readyz)).await?;

        let command = controllers(&kubernetes, &certificates, &kubeconfig)?;
        let mut controllers = Process::start(
            "kube-controller-manager",
            command,
            &folder.path().join("kube-controller-manager.log"),
        )?;
        let command = scheduler(&kubernetes, &kubeconfig)?;
        let scheduler = Process::start(
            "kube-scheduler",
            command,
            &folder.path().join("kube-scheduler.log"),
        )?;

        let client = access::client(&kubeconfig).await?;
        let kubelet = Kubelet::start(KubeletOptions {
            client: client.clone(),
            addresses,
            images: options.images,
            folder: folder.path().join("pods"),
            identity: certificates.kubelet.clone(),
            authority: certificates.authority.clone(),
            discovery: options.discovery,
        })
        .await?;
        controllers
            .ready(READY_WITHIN, || takes_pods(&client))
            .await?;
        let kubectl = kubernetes.join("kubectl");
        Ok(Self {
            kubelet,
            scheduler,
            controllers,
            api_server,
            etcd,
            client,
            server,
            kubeconfig,
            kubectl,
            folder,
        })
    }

    /// Returns the path of a kubeconfig with all permissions.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Writes a kubeconfig for a service account, which has the permissions of the account's roles.
    /// Its token is valid for an hour.
    pub async fn kubeconfig_for(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        access::for_service_account(&self.kubeconfig, namespace, service_account).await
    }

    /// Returns a client with all permissions. The client does not retry.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Returns the path of the program `kubectl`.
    pub fn kubectl(&self) -> &Path {
        &self.kubectl
    }

    /// Returns the URL that answers with the pods to scrape, as HTTP service discovery.
    pub fn discovery_url(&self) -> &str {
        self.kubelet.discovery_url()
    }

    /// Returns the version of the control plane.
    pub fn version(&self) -> &'static str {
        install::KUBERNETES_VERSION
    }

    /// Returns the API server's URL, `https://127.0.0.1:PORT`.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns the temporary folder with the data and the logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the ids of the servers' processes, without the pods.
    pub fn pids(&self) -> Vec<u32> {
        [
            &self.api_server,
            &self.controllers,
            &self.scheduler,
            &self.etcd,
        ]
        .map(Process::pid)
        .to_vec()
    }

    /// Stops the pods and then the servers.
    pub async fn stop(self) {
        self.kubelet.stop().await;
        tokio::join!(
            self.scheduler.stop(STOP_GRACE),
            self.controllers.stop(STOP_GRACE)
        );
        // The API server hangs if etcd stops first.
        self.api_server.stop(STOP_GRACE).await;
        self.etcd.stop(STOP_GRACE).await;
    }
}

async fn start_etcd(program: PathBuf, folder: &Path) -> Result<(Process, String)> {
    let client = format!("http://127.0.0.1:{}", ports::free()?);
    let peer = format!("http://127.0.0.1:{}", ports::free()?);
    let mut command = spawner::command(program);
    command.arg(format!("--data-dir={}", folder.join("etcd").display()));
    command.args([
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
    ]);
    command.args([
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
    ]);
    command.arg(format!("--initial-cluster=default={peer}"));
    // The data need not survive a crash of the machine.
    command.args(["--unsafe-no-fsync", "--log-level=warn"]);
    let mut process = Process::start("etcd", command, &folder.join("etcd.log"))?;
    let health = format!("{client}/health");
    process.ready(READY_WITHIN, || http::ok(&health)).await?;
    Ok((process, client))
}

fn api_server(programs: &Path, certificates: &Certificates, etcd: &str, port: u16) -> Command {
    let mut command = spawner::command(programs.join("kube-apiserver"));
    let mut flag = |name: &str, value: &str| {
        command.arg(format!("--{name}={value}"));
    };
    let path = |path: &Path| path.display().to_string();
    flag("etcd-servers", etcd);
    flag("bind-address", "127.0.0.1");
    flag("secure-port", &port.to_string());
    flag("advertise-address", "127.0.0.1");
    flag("endpoint-reconciler-type", "none");
    flag("tls-cert-file", &path(&certificates.server.certificate));
    flag("tls-private-key-file", &path(&certificates.server.key));
    flag("client-ca-file", &path(&certificates.authority));
    flag("service-account-issuer", "https://kubernetes.default.svc");
    flag(
        "service-account-key-file",
        &path(&certificates.service_accounts_public),
    );
    flag(
        "service-account-signing-key-file",
        &path(&certificates.service_accounts_key),
    );
    flag("authorization-mode", "RBAC");
    flag("service-cluster-ip-range", "10.0.0.0/24");
    flag("kubelet-preferred-address-types", "InternalIP");
    flag(
        "kubelet-certificate-authority",
        &path(&certificates.authority),
    );
    flag(
        "kubelet-client-certificate",
        &path(&certificates.admin.certificate),
    );
    flag("kubelet-client-key", &path(&certificates.admin.key));
    command
}

fn controllers(programs: &Path, certificates: &Certificates, kubeconfig: &Path) -> Result<Command> {
    let mut command = spawner::command(programs.join("kube-controller-manager"));
    command.arg(format!("--kubeconfig={}", kubeconfig.display()));
    command.arg(format!(
        "--service-account-private-key-file={}",
        certificates.service_accounts_key.display()
    ));
    command.arg(format!(
        "--root-ca-file={}",
        certificates.authority.display()
    ));
    command.arg(format!("--secure-port={}", ports::free()?));
    command.args(["--bind-address=127.0.0.1", "--leader-elect=false"]);
    // Endpoints refuse loopback addresses, and all pods here have loopback addresses.
    command.arg("--controllers=*,-endpointslice-controller,-endpoints-controller,-endpointslice-mirroring-controller");
    Ok(command)
}

fn scheduler(programs: &Path, kubeconfig: &Path) -> Result<Command> {
    let mut command = spawner::command(programs.join("kube-scheduler"));
    command.arg(format!("--kubeconfig={}", kubeconfig.display()));
    command.arg(format!("--secure-port={}", ports::free()?));
    command.args(["--bind-address=127.0.0.1", "--leader-elect=false"]);
    Ok(command)
}

/// Checks that the node has no taint left, and that pods get the service account that they ask for.
async fn takes_pods(client: &Client) -> Result<()> {
    let node = Api::<Node>::all(client.clone())
        .get(crate::kubelet::NODE)
        .await?;
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    ensure!(
        taints.is_empty(),
        "the node is still tainted {}",
        taints[0].key
    );
    Api::<ServiceAccount>::namespaced(client.clone(), "default")
        .get("default")
        .await?;
    Ok(())
}
