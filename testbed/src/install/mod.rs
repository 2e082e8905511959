//! Installs the servers' programs once per machine, from package registries only.

mod etcd;
mod go;
mod kafka;
mod kubernetes;
mod ollama;
mod prometheus;
mod prometheus3;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

pub use etcd::{VERSION as ETCD_VERSION, etcd};
pub use kafka::{VERSION as KAFKA_VERSION, kafka};
pub use kubernetes::{VERSION as KUBERNETES_VERSION, kubernetes};
pub use ollama::{MODEL as OLLAMA_MODEL, VERSION as OLLAMA_VERSION, model, ollama};
pub use prometheus::prometheus;
pub use prometheus3::prometheus3;

use crate::process::Process;

/// Maximum time of a build. A suitable machine needs less.
const BUILD_WITHIN: Duration = Duration::from_secs(40 * 60);

/// An installed program, as `doctor` lists it.
#[derive(Debug, Clone)]
pub struct Artefact {
    /// Name and version.
    pub name: String,
    /// Path, if it is installed.
    pub path: Option<std::path::PathBuf>,
    /// Time that `testbed install` needs for it.
    pub takes: &'static str,
}

/// Returns everything that `testbed install` installs, with the path of each installed item.
pub fn artefacts() -> Vec<Artefact> {
    vec![
        kafka::artefact(),
        prometheus::artefact(),
        prometheus3::artefact(),
        kubernetes::artefact(),
        etcd::artefact(),
        ollama::artefact(),
        ollama::model_artefact(),
    ]
}

/// Runs one step of an installation to its end. Writes the output to a log file beside the built
/// files.
async fn step(what: &str, command: Command, log: &Path) -> Result<()> {
    Process::start(what, command, log)?
        .finished(BUILD_WITHIN)
        .await
}

/// Logs the start of a build and, at the end, its duration.
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
