//! A small kubelet whose pods are processes of this machine.
//!
//! It keeps one node ready, runs the pods that the scheduler binds to it, probes and restarts them,
//! enforces memory limits, reports status, and serves logs. It lacks init containers, volumes,
//! environment variables from config maps and secrets, lifecycle hooks, `exec`, and limits on
//! processor time. A pod that needs a missing feature waits with `CreateContainerConfigError`.

mod addresses;
mod back_off;
mod container;
mod discovery;
mod environment;
mod events;
mod images;
mod log_file;
mod log_server;
mod memory;
mod node;
mod pod;
mod probe;
mod quantity;
mod registry;
mod run;
mod status;
mod watch;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use tokio::task::JoinSet;

use crate::control_plane::Identity;
use events::Events;
use images::Images;
use memory::Memory;
use registry::Registry;

pub(crate) use addresses::Addresses;

/// Name of the node.
pub(crate) const NODE: &str = "testbed-node";
/// Time for the pods to stop, before they are killed with the testbed.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Settings of a kubelet.
pub(crate) struct KubeletOptions {
    pub client: Client,
    pub addresses: Addresses,
    pub images: BTreeMap<String, PathBuf>,
    /// Folder for logs and working folders.
    pub folder: PathBuf,
    /// Certificate that the kubelet presents to the API server.
    pub identity: Identity,
    /// Authority that signed the API server's certificate.
    pub authority: PathBuf,
    pub discovery: Option<TcpListener>,
}

/// Values that all pods of the node share.
struct Node {
    client: Client,
    addresses: Addresses,
    images: Images,
    folder: PathBuf,
    memory: Memory,
    events: Events,
}

impl Node {
    /// Returns the log file of the run that a container's id, `testbed://UID/CONTAINER/RUN`, names.
    fn log_of(&self, container_id: &str) -> PathBuf {
        let run = container_id.trim_start_matches("testbed://");
        self.folder.join(format!("{run}.log"))
    }
}

/// A running kubelet. Dropping it kills its pods.
pub(crate) struct Kubelet {
    registry: Arc<Registry>,
    discovery_url: String,
    _tasks: JoinSet<()>,
}

impl Kubelet {
    /// Registers the node and begins to run the pods that are bound to it.
    pub(crate) async fn start(options: KubeletOptions) -> Result<Self> {
        std::fs::create_dir_all(&options.folder)?;
        let mut tasks = JoinSet::new();
        let (memory, measuring) = Memory::new();
        tasks.spawn(measuring);
        let (events, recording) = Events::new(options.client.clone());
        tasks.spawn(recording);

        let mut addresses = options.addresses;
        let kubelet_listener = addresses
            .take_listener()
            .context("a kubelet is started once")?;
        let kubelet_port = kubelet_listener.local_addr()?.port();
        let (address, client) = (addresses.node(), options.client.clone());
        let node = Arc::new(Node {
            client: options.client,
            addresses,
            images: Images::new(options.images),
            folder: options.folder,
            memory,
            events,
        });
        let registry = Arc::new(Registry::new(node));

        let tls = log_server::tls(&options.identity, &options.authority)?;
        tasks.spawn(log_server::serve(
            kubelet_listener,
            tls,
            Arc::clone(&registry),
        )?);
        let discovery_listener = match options.discovery {
            Some(listener) => listener,
            None => TcpListener::bind("127.0.0.1:0")?,
        };
        let discovery_url = format!("http://{}/sd", discovery_listener.local_addr()?);
        tasks.spawn(discovery::serve(discovery_listener, Arc::clone(&registry))?);

        node::register(&client, address, kubelet_port)
            .await
            .context("cannot register the node")?;
        tasks.spawn(node::heartbeat(client, address, kubelet_port));
        tasks.spawn(watch::follow(Arc::clone(&registry)));
        Ok(Self {
            registry,
            discovery_url,
            _tasks: tasks,
        })
    }

    /// Returns the URL that answers with the pods to scrape.
    pub(crate) fn discovery_url(&self) -> &str {
        &self.discovery_url
    }

    /// Stops all pods, without reporting it to the API server.
    pub(crate) async fn stop(self) {
        self.registry.stop(STOP_GRACE).await;
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.registry.abort();
    }
}
