//! Arguments of `anomalyzer demo`.

use std::path::PathBuf;

/// Arguments of `anomalyzer demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// End after the scenes; the exit code is 0 only if all of them succeeded
    #[arg(long)]
    pub exit_when_done: bool,
    /// Run on the real Kafka, Prometheus, Ollama and Kubernetes that the environment names (`cargo
    /// xtask demo --real` starts them)
    #[arg(long)]
    pub real: bool,
    /// URL of the list of the application's replicas, in the format of Prometheus's HTTP service
    /// discovery
    #[arg(long, env = "DEMO_SD_URL")]
    pub sd_url: Option<String>,
    /// Let the language model decide; without it, the model is asked and recorded, and the rules
    /// decide
    #[arg(long, requires = "real")]
    pub model_decides: bool,
    /// Folder for the history, without the state of another run; by default a new temporary one
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
}
