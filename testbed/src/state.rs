//! The state file: addresses of the servers of a running testbed, and the processes and folders to
//! remove if the testbed dies.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::cache;
use crate::control_plane::access;
use crate::process::signal_group;

/// Address of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaEndpoint {
    /// `127.0.0.1:PORT`
    pub brokers: String,
    /// Version of the broker.
    pub version: String,
}

/// Address of a Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrometheusEndpoint {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// Version of the server.
    pub version: String,
}

/// Address of an Ollama.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OllamaEndpoint {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// Name of the loaded model.
    pub model: String,
    /// Version of the server.
    pub version: String,
}

/// Addresses and programs of a Kubernetes control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesEndpoint {
    /// URL of the API server, `https://127.0.0.1:PORT`.
    pub server: String,
    /// Path of a kubeconfig with all permissions.
    pub kubeconfig: PathBuf,
    /// Path of the program `kubectl`.
    pub kubectl: PathBuf,
    /// URL that answers with the pods to scrape, as Prometheus's HTTP service discovery.
    pub discovery_url: String,
    /// Version of the control plane.
    pub version: String,
}

impl KubernetesEndpoint {
    /// Writes a kubeconfig for a service account, which has the permissions of the account's roles.
    /// Its token is valid for an hour.
    pub async fn kubeconfig_for(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        access::for_service_account(&self.kubeconfig, namespace, service_account).await
    }
}

/// Identity of a process. It differs from the identity of a later process with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Id of the process.
    pub pid: u32,
    /// Start of the process, in clock ticks since the machine started.
    pub started: u64,
}

impl ProcessId {
    /// Returns the running process `pid`.
    pub fn of(pid: u32) -> Option<Self> {
        Self::seen(pid).filter(|(_, runs)| *runs).map(|(id, _)| id)
    }

    /// Returns the process `pid`, and true if it runs. A process that has ended is still listed
    /// until its parent reaps it.
    fn seen(pid: u32) -> Option<(Self, bool)> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Fields 3 and 22. Field 2 is the name, which may hold any characters, and ends at the last
        // parenthesis.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let runs = !matches!(fields.next()?, "Z" | "X");
        Some((
            Self {
                pid,
                started: fields.nth(18)?.parse().ok()?,
            },
            runs,
        ))
    }

    /// Returns true if the process still runs.
    pub fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Kills the group that the process leads or led, unless another process has its id by now.
    fn kill_group(self) {
        if Self::seen(self.pid).is_none_or(|(id, _)| id == self) {
            signal_group(self.pid, Signal::KILL);
        }
    }
}

/// A running testbed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Process that started the servers. It stops them on SIGTERM.
    pub owner: ProcessId,
    /// Present if it was requested.
    pub kafka: Option<KafkaEndpoint>,
    /// Present if it was requested.
    pub prometheus: Option<PrometheusEndpoint>,
    /// Present if it was requested.
    pub ollama: Option<OllamaEndpoint>,
    /// Present if it was requested.
    pub kubernetes: Option<KubernetesEndpoint>,
    /// Processes of the servers. Each leads a process group.
    pub servers: Vec<ProcessId>,
    /// Temporary folders of the servers.
    pub folders: Vec<PathBuf>,
}

impl State {
    /// Returns the default path of the state file.
    pub fn default_path() -> Result<PathBuf> {
        Ok(cache::folder()?.join("testbed.json"))
    }

    /// Reads a state file. Returns `None` if the file does not exist.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot read the state file {}", path.display()));
            }
        };
        let state = serde_json::from_str(&text);
        Ok(Some(state.with_context(|| {
            format!(
                "{} is not a testbed's state file: remove it",
                path.display()
            )
        })?))
    }

    /// Writes the state file in one step.
    pub fn write(&self, path: &Path) -> Result<()> {
        let folder = path
            .parent()
            .ok_or_else(|| anyhow!("{} is no file's path", path.display()))?;
        let written = || -> Result<()> {
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.persist(path)?;
            Ok(())
        };
        written().with_context(|| format!("cannot write the state file {}", path.display()))
    }

    /// Returns the variables by which Anomalyzer and its demo find the servers, and by which a
    /// shell finds `kubectl`.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        if let Some(kafka) = &self.kafka {
            variables.push(("KAFKA_BROKERS", kafka.brokers.clone()));
        }
        if let Some(prometheus) = &self.prometheus {
            variables.push(("PROMETHEUS_URL", prometheus.url.clone()));
        }
        if let Some(ollama) = &self.ollama {
            variables.push(("OLLAMA_HOST", ollama.url.clone()));
            variables.push(("OLLAMA_MODEL", ollama.model.clone()));
        }
        if let Some(kubernetes) = &self.kubernetes {
            variables.push(("KUBECONFIG", kubernetes.kubeconfig.display().to_string()));
            variables.push(("KUBECTL", kubernetes.kubectl.display().to_string()));
            variables.push(("DEMO_SD_URL", kubernetes.discovery_url.clone()));
        }
        variables
    }

    /// Kills the processes that a dead owner left behind, and removes its folders and the state
    /// file `path`.
    pub fn clean_up(&self, path: &Path) -> Result<()> {
        self.owner.kill_group();
        for server in &self.servers {
            server.kill_group();
        }
        for folder in &self.folders {
            // Somebody may have changed the file, so only folders with the name of a testbed's
            // folder are removed.
            let ours = folder
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(crate::folder::PREFIX));
            if ours && folder.exists() {
                std::fs::remove_dir_all(folder)
                    .with_context(|| format!("cannot remove {}", folder.display()))?;
            }
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)
                .with_context(|| format!("cannot remove the state file {}", path.display())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_not_mistaken_for_an_earlier_one_with_its_id() {
        let this = ProcessId::of(std::process::id()).unwrap();
        assert!(this.lives());
        assert!(
            !ProcessId {
                started: this.started + 1,
                ..this
            }
            .lives()
        );
    }

    #[test]
    fn what_is_written_is_read_and_a_missing_file_is_no_testbed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("state.json");
        assert_eq!(State::read(&path).unwrap(), None);
        let state = State {
            owner: ProcessId { pid: 1, started: 2 },
            kafka: Some(KafkaEndpoint {
                brokers: "127.0.0.1:9".into(),
                version: "4".into(),
            }),
            prometheus: None,
            ollama: None,
            kubernetes: None,
            servers: Vec::new(),
            folders: Vec::new(),
        };
        state.write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap().as_ref(), Some(&state));
        assert_eq!(
            state.environment(),
            [("KAFKA_BROKERS", "127.0.0.1:9".to_owned())]
        );
    }

    #[test]
    fn the_variables_are_all_that_the_demo_on_real_servers_needs() {
        let state = State {
            owner: ProcessId { pid: 1, started: 2 },
            kafka: Some(KafkaEndpoint {
                brokers: "127.0.0.1:9".into(),
                version: "4".into(),
            }),
            prometheus: Some(PrometheusEndpoint {
                url: "http://127.0.0.1:8".into(),
                version: "3".into(),
            }),
            ollama: Some(OllamaEndpoint {
                url: "http://127.0.0.1:7".into(),
                model: "m".into(),
                version: "1".into(),
            }),
            kubernetes: Some(KubernetesEndpoint {
                server: "https://127.0.0.1:6".into(),
                kubeconfig: "/k/config".into(),
                kubectl: "/k/kubectl".into(),
                discovery_url: "http://127.0.0.1:5/sd".into(),
                version: "1".into(),
            }),
            servers: Vec::new(),
            folders: Vec::new(),
        };
        let names: Vec<_> = state
            .environment()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let wanted = [
            "KAFKA_BROKERS",
            "PROMETHEUS_URL",
            "OLLAMA_HOST",
            "OLLAMA_MODEL",
            "KUBECONFIG",
            "KUBECTL",
            "DEMO_SD_URL",
        ];
        assert_eq!(names, wanted);
    }

    #[test]
    fn cleaning_up_removes_only_a_testbeds_own_folders() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, foreign) = (
            folder.path().join("anomalyzer-testbed-kafka-x"),
            folder.path().join("precious"),
        );
        std::fs::create_dir(&ours).unwrap();
        std::fs::create_dir(&foreign).unwrap();
        let path = folder.path().join("state.json");
        let state = State {
            owner: ProcessId {
                pid: 1,
                started: u64::MAX,
            },
            kafka: None,
            prometheus: None,
            ollama: None,
            kubernetes: None,
            servers: Vec::new(),
            folders: vec![ours.clone(), foreign.clone()],
        };
        state.write(&path).unwrap();
        state.clean_up(&path).unwrap();
        assert_eq!(
            (ours.exists(), foreign.exists(), path.exists()),
            (false, true, false)
        );
    }
}
