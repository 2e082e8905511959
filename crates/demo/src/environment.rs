//! Environment of the demo: processes of this machine, or the real services.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::args::DemoArgs;
use super::scene::Scene;
use anomalyzer_common::clock::now_ms;
use anomalyzer_diagnose::Role as ModelRole;
use anomalyzer_domain::Target;
use anomalyzer_http_source::{AccessConfig, SourceClient, http_sd};
use anomalyzer_operator_process::Endpoint;
use anomalyzer_service::config::Config;
use anomalyzer_service::{Service, config};

/// The service that is broken and repaired, with its configuration.
pub(super) struct Environment {
    config: Config,
    real: bool,
    /// Target that is broken and repaired.
    pub(super) target: Target,
    /// Factor by which timeouts are longer than in the embedded environment.
    pub(super) timeout_factor: u32,
    sd_url: Option<String>,
    temporary: Option<PathBuf>,
}

impl Environment {
    pub(super) fn set_up(args: &DemoArgs, data_dir: PathBuf) -> anyhow::Result<Self> {
        let environment = config::process_variable;
        let nothing = |_: &str| None;
        let api_port = free_ports(9000, 1)?;
        let (text, path, environment): (String, &Path, config::Environment<'_>) = if args.real {
            let text = include_str!("real.toml")
                .replace("{api_port}", &api_port.to_string())
                .replace("{began}", &(now_ms() / 1000).to_string());
            (text, Path::new("demo/real.toml"), &environment)
        } else {
            let exe = std::env::current_exe().context("the path of this program is not known")?;
            // Four ports of the shop, followed by two of the reports.
            let app_port = free_ports(8000, 4 + 2)?;
            let text = include_str!("embedded.toml")
                .replace(
                    "{exe}",
                    &exe.display()
                        .to_string()
                        .replace('\\', "\\\\")
                        .replace('"', "\\\""),
                )
                .replace("{api_port}", &api_port.to_string())
                .replace("{app_port}", &app_port.to_string())
                .replace("{reports_port}", &(app_port + 4).to_string());
            (text, Path::new("demo/embedded.toml"), &nothing)
        };
        let mut config = config::parse(path, &text)?;
        let _idle = config::overlay(&mut config, environment)?;
        config.plugins.folder = config::plugin_folder();
        config.plugins.cache = Some(config::cache_folder().join("compiled"));
        config.plugins.compiler = Some(anomalyzer_plugin_host::this_program());
        config.data_dir = data_dir.clone();
        if let Some(ollama) = &mut config.ollama {
            ollama.role = if args.model_decides {
                ModelRole::Decide
            } else {
                ModelRole::Advise
            };
        }
        if args.real {
            for (what, there) in [
                ("KAFKA_BROKERS", config.kafka.is_some()),
                ("PROMETHEUS_URL", config.collect.prometheus.is_some()),
                ("OLLAMA_HOST and OLLAMA_MODEL", config.ollama.is_some()),
                ("DEMO_SD_URL (or --sd-url)", args.sd_url.is_some()),
            ] {
                anyhow::ensure!(
                    there,
                    "{what} is not set: start the real parts with `cargo xtask demo --real`"
                );
            }
        }
        let target = match args.real {
            true => Target::new("demo", "Deployment", "shop"),
            false => Target::new("", "Process", "shop"),
        };
        Ok(Self {
            config,
            real: args.real,
            target,
            timeout_factor: if args.real { 3 } else { 1 },
            // The environment variable may be set for another demo.
            sd_url: args.sd_url.clone().filter(|_| args.real),
            temporary: args.data_dir.is_none().then_some(data_dir),
        })
    }

    /// Returns the scenes to play. The real services omit the controls for people, because they
    /// behave in the same way there and everything takes longer.
    pub(super) fn scenes(&self) -> &'static [Scene] {
        const ALL: [Scene; 5] = [
            Scene::Surge,
            Scene::Leak,
            Scene::Blip,
            Scene::Mute,
            Scene::Hands,
        ];
        if self.real { &ALL[..4] } else { &ALL }
    }

    /// Returns the time of ordinary traffic before the start of the host. Prometheus is the source
    /// of the backfill on the real services, so that it must have seen an ordinary day by then.
    pub(super) fn ordinary_day_before(&self) -> Option<Duration> {
        self.real.then_some(Duration::from_secs(130))
    }

    pub(super) fn config(&self) -> Config {
        self.config.clone()
    }

    pub(super) fn describe(&self) -> String {
        let data = self.config.data_dir.display();
        if !self.real {
            return format!(
                "embedded: processes of this machine, a bus in this process, rules; history in {data}"
            );
        }
        let model = self
            .config
            .ollama
            .as_ref()
            .map_or("", |ollama| ollama.model.as_str());
        format!("real: Kafka, Prometheus, Kubernetes and Ollama with {model}; history in {data}")
    }

    /// Returns the base URLs of the ready replicas, kept up to date.
    pub(super) fn replicas(
        &self,
        running: Option<&Service>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<watch::Receiver<Vec<String>>> {
        let (sender, receiver) = watch::channel(Vec::new());
        if let Some(url) = self.sd_url.clone() {
            let client = SourceClient::new(AccessConfig::default(), Duration::from_secs(2))?;
            tokio::spawn(async move {
                while !shutdown.is_cancelled() {
                    if let Ok(found) = http_sd::fetch(&client, &url).await {
                        let urls = found.iter().map(http_sd::Discovered::base_url).collect();
                        sender.send_if_modified(|known| std::mem::replace(known, urls) != *known);
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
            return Ok(receiver);
        }
        let mut endpoints = endpoints(running, &self.target)?;
        tokio::spawn(async move {
            loop {
                let ready = ready(&endpoints.borrow_and_update());
                sender.send_replace(ready);
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    changed = endpoints.changed() => if changed.is_err() { return },
                }
            }
        });
        Ok(receiver)
    }

    /// Returns lines with commands that a visitor can try, given the ready replicas.
    pub(super) fn lines_to_try(
        &self,
        api: SocketAddr,
        replicas: &[String],
    ) -> anyhow::Result<Vec<String>> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let (target, data) = (&self.target, self.config.data_dir.display());
        let action = |name: &str, parameters: &str| {
            format!(
                "  curl -X POST -H 'content-type: application/json' -d '{{\"target\":\"{target}\",\"parameters\":{parameters}}}' \
                 http://{api}/action/{name}"
            )
        };
        let mut lines = vec![
            "the application and its load go on; break it by hand, from another terminal:".into(),
        ];
        if let Some(replica) = replicas.first() {
            lines.push(format!(
                "  curl -X POST {replica}/fault/leak      (or slow, errors, hang, blip, mute; DELETE {replica}/fault heals)"
            ));
        }
        lines.push(format!("  curl http://{api}/health"));
        lines.push(format!("  curl 'http://{api}/api/v1/decisions?limit=3'"));
        lines.push(format!("  curl -X POST http://{api}/send-test-metric"));
        // The command asks for one more replica than there are. With the present number, the action
        // would have nothing to do.
        lines.push(action(
            "scale-up",
            &format!("{{\"replicas\":{}}}", replicas.len() + 1),
        ));
        if self
            .config
            .rate_limit
            .iter()
            .any(|limit| limit.target == *target)
        {
            lines.push(action("rate-limit", "{\"requests_per_second\":20}"));
            let program = program.display();
            lines.push(format!(
                "  {program} decisions approve ID --server http://{api} --reason '…'      (that one is held)"
            ));
        }
        lines.push(format!(
            "  {} decisions list --data-dir {data}",
            program.display()
        ));
        lines.push("Ctrl-C ends it".into());
        Ok(lines)
    }

    /// Cleans up after the demo. Keeps the history for `anomalyzer decisions`.
    pub(super) async fn clean_up(&self) {
        if let Some(folder) = &self.temporary {
            let _ = tokio::fs::remove_file(folder.join("bus.sqlite")).await;
        }
    }
}

/// Returns the replicas of a process group.
pub(super) fn endpoints(
    running: Option<&Service>,
    target: &Target,
) -> anyhow::Result<watch::Receiver<Vec<Endpoint>>> {
    let local = running.and_then(Service::local);
    let group = local.and_then(|local| local.endpoints(&target.name));
    group.with_context(|| format!("the group {} of the demo is not supervised", target.name))
}

/// Returns the base URLs of the ready replicas.
pub(super) fn ready(endpoints: &[Endpoint]) -> Vec<String> {
    let ready = endpoints.iter().filter(|endpoint| endpoint.ready);
    ready
        .map(|endpoint| format!("http://{}", endpoint.address))
        .collect()
}

/// Returns the first of `count` consecutive free ports, starting the search at `wanted`.
fn free_ports(wanted: u16, count: u16) -> anyhow::Result<u16> {
    let free = |first: u16| {
        (first..first.saturating_add(count))
            .all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
    };
    (0..200)
        .map(|step| wanted.saturating_add(step * count))
        .find(|first| free(*first))
        .with_context(|| format!("no {count} ports in a row are free from {wanted} on"))
}
