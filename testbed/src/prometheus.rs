//! A Prometheus server.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::folder::Folder;
use crate::process::Process;
use crate::{http, install, ports, spawner};

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Targets and interval of the scrapes. The server always accepts remote write on `/api/v1/write`.
#[derive(Debug, Clone)]
pub struct PrometheusOptions {
    /// Time between two scrapes, and between two requests to a discovery. It is also the timeout of
    /// a scrape.
    pub interval: Duration,
    /// Addresses `host:port` by job name. The server scrapes `/metrics` of each address.
    pub targets: Vec<(String, Vec<String>)>,
    /// URLs that answer with targets (HTTP service discovery). The job of the first is `pods`, then
    /// `pods-1` and so on.
    pub discoveries: Vec<String>,
}

impl Default for PrometheusOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            targets: Vec::new(),
            discoveries: Vec::new(),
        }
    }
}

/// A running server. Dropping it removes its data.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    port: u16,
    version: String,
    folder: Folder,
}

impl Prometheus {
    /// Installs Prometheus if it is missing, starts it on a free port, and waits until it answers
    /// queries.
    pub async fn start(options: &PrometheusOptions) -> Result<Self> {
        Self::run(install::prometheus().await?, options).await
    }

    /// Starts Prometheus 3, like [`start`](Self::start).
    pub async fn start_3(options: &PrometheusOptions) -> Result<Self> {
        Self::run(install::prometheus3().await?, options).await
    }

    async fn run(program: PathBuf, options: &PrometheusOptions) -> Result<Self> {
        let version = version(&program)?;
        let folder = Folder::new("prometheus")?;
        let configuration = folder.path().join("prometheus.yml");
        std::fs::write(&configuration, configuration_of(options))?;
        let port = ports::free()?;
        let mut command = spawner::command(program);
        command.arg(format!("--config.file={}", configuration.display()));
        command.arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.args([
            "--web.enable-remote-write-receiver",
            "--web.enable-lifecycle",
        ]);
        let mut process =
            Process::start("Prometheus", command, &folder.path().join("prometheus.log"))?;
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        process.ready(READY_WITHIN, || http::ok(&ready)).await?;
        Ok(Self {
            process,
            port,
            version,
            folder,
        })
    }

    /// Returns the URL, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the version that the server reports.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the id of the server's process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the temporary folder with the server's data and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops the server after it has closed its storage.
    pub async fn stop(self) {
        self.process.stop(STOP_GRACE).await;
    }
}

/// Quotes `text` for YAML, where every JSON string is a valid string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn configuration_of(options: &PrometheusOptions) -> String {
    let interval = format!("{}ms", options.interval.as_millis().max(1));
    let mut yaml = format!(
        "global:\n  scrape_interval: {interval}\n  scrape_timeout: {interval}\n  evaluation_interval: {interval}\n"
    );
    if options.targets.is_empty() && options.discoveries.is_empty() {
        return yaml;
    }
    yaml.push_str("scrape_configs:\n");
    // Writing to a string can't fail.
    for (job, addresses) in &options.targets {
        let addresses: Vec<_> = addresses.iter().map(|address| quoted(address)).collect();
        let (job, addresses) = (quoted(job), addresses.join(", "));
        let _written = write!(
            yaml,
            "  - job_name: {job}\n    static_configs:\n      - targets: [{addresses}]\n"
        );
    }
    for (index, url) in options.discoveries.iter().enumerate() {
        let job = if index == 0 {
            "pods".to_owned()
        } else {
            format!("pods-{index}")
        };
        let url = quoted(url);
        let _written = write!(
            yaml,
            "  - job_name: {job}\n    http_sd_configs:\n      - url: {url}\n        refresh_interval: {interval}\n"
        );
    }
    yaml
}

/// Reads the version of `program`: `prometheus, version 2.42.0+ds (branch: …` → `2.42.0+ds`.
/// Version 2 prints it on standard error.
fn version(program: &Path) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Ok(text
        .split_whitespace()
        .skip_while(|word| *word != "version")
        .nth(1)
        .unwrap_or("unknown")
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_list_and_each_discovery_becomes_a_job() {
        let options = PrometheusOptions {
            interval: Duration::from_millis(1_500),
            targets: vec![(
                "app".into(),
                vec!["127.0.0.1:8000".into(), "127.0.0.1:8001".into()],
            )],
            discoveries: vec!["http://127.0.0.1:1/sd".into()],
        };
        let yaml = configuration_of(&options);
        assert!(yaml.contains("scrape_interval: 1500ms"), "{yaml}");
        assert!(
            yaml.contains("- targets: [\"127.0.0.1:8000\", \"127.0.0.1:8001\"]"),
            "{yaml}"
        );
        assert!(
            yaml.contains(
                "job_name: pods\n    http_sd_configs:\n      - url: \"http://127.0.0.1:1/sd\""
            ),
            "{yaml}"
        );
    }
}
