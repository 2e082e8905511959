//! All servers together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{
    ControlPlane, ControlPlaneOptions, Kafka, KafkaEndpoint, KubernetesEndpoint, Ollama,
    OllamaEndpoint, ProcessId, Prometheus, PrometheusEndpoint, PrometheusOptions, State, install,
};

/// One of the real servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// Apache Kafka.
    Kafka,
    /// Prometheus.
    Prometheus,
    /// Ollama with a small model.
    Ollama,
    /// A Kubernetes control plane and its node.
    Kubernetes,
}

impl std::fmt::Display for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self:?}")
    }
}

/// Servers to start, and their settings.
#[derive(Debug, Clone)]
pub struct TestbedOptions {
    /// Servers to start.
    pub servers: BTreeSet<Server>,
    /// Programs that stand for images in Kubernetes.
    pub images: BTreeMap<String, PathBuf>,
    /// Time between two scrapes of Prometheus.
    pub scrape_interval: Duration,
}

impl Default for TestbedOptions {
    fn default() -> Self {
        let servers = Server::value_variants().iter().copied().collect();
        Self {
            servers,
            images: BTreeMap::new(),
            scrape_interval: Duration::from_secs(1),
        }
    }
}

/// The running servers. Dropping it kills them; [`Testbed::stop`] stops them in order.
#[derive(Default)]
pub struct Testbed {
    /// Present if it was requested.
    pub kafka: Option<Kafka>,
    /// Present if it was requested. It scrapes the pods if Kubernetes runs too.
    pub prometheus: Option<Prometheus>,
    /// Present if it was requested.
    pub ollama: Option<Ollama>,
    /// Present if it was requested.
    pub kubernetes: Option<ControlPlane>,
}

impl Testbed {
    /// Installs missing programs and starts all requested servers concurrently.
    pub async fn up(options: TestbedOptions) -> Result<Self> {
        let wanted = |server| options.servers.contains(&server);
        // The port for the discovery of pods is bound first, because Prometheus needs its address
        // before Kubernetes runs.
        let discovery = if wanted(Server::Kubernetes) {
            Some(TcpListener::bind("127.0.0.1:0")?)
        } else {
            None
        };
        let address = discovery
            .as_ref()
            .map(TcpListener::local_addr)
            .transpose()?;
        let prometheus = PrometheusOptions {
            interval: options.scrape_interval,
            discoveries: address
                .map(|address| format!("http://{address}/sd"))
                .into_iter()
                .collect(),
            ..PrometheusOptions::default()
        };
        let images = options.images.clone();
        let (kafka, prometheus, ollama, kubernetes) = tokio::try_join!(
            started(wanted(Server::Kafka), Server::Kafka, Kafka::start()),
            started(
                wanted(Server::Prometheus),
                Server::Prometheus,
                Prometheus::start(&prometheus)
            ),
            started(wanted(Server::Ollama), Server::Ollama, Ollama::start()),
            started(
                wanted(Server::Kubernetes),
                Server::Kubernetes,
                ControlPlane::start(ControlPlaneOptions { images, discovery }),
            ),
        )?;
        Ok(Self {
            kafka,
            prometheus,
            ollama,
            kubernetes,
        })
    }

    /// Installs the missing programs of `servers`, and starts nothing.
    pub async fn install(servers: &BTreeSet<Server>) -> Result<()> {
        let wanted = |server| servers.contains(&server);
        let kafka = started(wanted(Server::Kafka), Server::Kafka, install::kafka());
        let prometheus = started(
            wanted(Server::Prometheus),
            Server::Prometheus,
            install::prometheus(),
        );
        let model = started(wanted(Server::Ollama), Server::Ollama, install::model());
        tokio::try_join!(kafka, prometheus, model)?;
        // Builds run one after another: a compiler uses all processors, and two builds at once only
        // need more memory. Tests start Prometheus 3 by themselves.
        started(
            wanted(Server::Prometheus),
            Server::Prometheus,
            install::prometheus3(),
        )
        .await?;
        started(wanted(Server::Ollama), Server::Ollama, install::ollama()).await?;
        started(
            wanted(Server::Kubernetes),
            Server::Kubernetes,
            install::etcd(),
        )
        .await?;
        started(
            wanted(Server::Kubernetes),
            Server::Kubernetes,
            install::kubernetes(),
        )
        .await?;
        Ok(())
    }

    /// Returns the addresses of the servers, with this process as the owner.
    pub fn state(&self) -> Result<State> {
        let mut pids = Vec::new();
        let mut folders = Vec::new();
        let kafka = self.kafka.as_ref().map(|kafka| {
            pids.extend(kafka.pid());
            folders.push(kafka.folder().to_owned());
            KafkaEndpoint {
                brokers: kafka.brokers(),
                version: kafka.version().to_owned(),
            }
        });
        let prometheus = self.prometheus.as_ref().map(|prometheus| {
            pids.push(prometheus.pid());
            folders.push(prometheus.folder().to_owned());
            PrometheusEndpoint {
                url: prometheus.url(),
                version: prometheus.version().to_owned(),
            }
        });
        let ollama = self.ollama.as_ref().map(|ollama| {
            pids.push(ollama.pid());
            folders.push(ollama.folder().to_owned());
            OllamaEndpoint {
                url: ollama.url(),
                model: ollama.model().to_owned(),
                version: ollama.version().to_owned(),
            }
        });
        let kubernetes = self.kubernetes.as_ref().map(|kubernetes| {
            pids.extend(kubernetes.pids());
            folders.push(kubernetes.folder().to_owned());
            KubernetesEndpoint {
                server: kubernetes.server().to_owned(),
                kubeconfig: kubernetes.kubeconfig().to_owned(),
                kubectl: kubernetes.kubectl().to_owned(),
                discovery_url: kubernetes.discovery_url().to_owned(),
                version: kubernetes.version().to_owned(),
            }
        });
        let owner = ProcessId::of(std::process::id())
            .context("cannot read /proc: the testbed needs Linux")?;
        let servers = pids.into_iter().filter_map(ProcessId::of).collect();
        Ok(State {
            owner,
            kafka,
            prometheus,
            ollama,
            kubernetes,
            servers,
            folders,
        })
    }

    /// Stops all servers.
    pub async fn stop(self) {
        let kafka = async {
            if let Some(kafka) = self.kafka {
                kafka.stop().await;
            }
        };
        let prometheus = async {
            if let Some(prometheus) = self.prometheus {
                prometheus.stop().await;
            }
        };
        let ollama = async {
            if let Some(ollama) = self.ollama {
                ollama.stop().await;
            }
        };
        let kubernetes = async {
            if let Some(kubernetes) = self.kubernetes {
                kubernetes.stop().await;
            }
        };
        tokio::join!(kafka, prometheus, ollama, kubernetes);
    }
}

/// Runs `work` if `wanted` is true. Errors name the server.
async fn started<T>(
    wanted: bool,
    server: Server,
    work: impl Future<Output = Result<T>>,
) -> Result<Option<T>> {
    if !wanted {
        return Ok(None);
    }
    work.await
        .map(Some)
        .with_context(|| format!("{server} is not to be had"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Callers may run a testbed on a task of its own, so its futures must be `Send`.
    #[test]
    fn starting_and_stopping_may_move_between_threads() {
        fn moves<T: Send>(_future: T) {}
        moves(Testbed::up(TestbedOptions::default()));
        moves(Testbed::default().stop());
    }
}
