//! One file, parsed once, handed down. Nothing below this reads the environment.

mod environment;
mod fits;
mod load;
mod place;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::act::http::HttpConfig;
use crate::act::kubernetes::KubernetesConfig;
use crate::act::local::LocalConfig;
use crate::act::notify::NotifyConfig;
use crate::act::{ActorConfig, Candidates, Capabilities, grants, kubernetes};
use crate::api::ApiConfig;
use crate::backtest::TrialConfig;
use crate::bus::kafka::KafkaConfig;
use crate::bus::local::LocalBusConfig;
use crate::collect::{CollectConfig, DetectorConfig, SignalConfig};
use crate::detect::{IncidentConfig, MemoryConfig};
use crate::diagnose::{DiagnoserConfig, OllamaConfig};
use crate::domain::{Grant, Parameters, Target};
use crate::guard::Policy;
use crate::history::{AnchorConfig, HistoryOptions, RetentionConfig};
use crate::plugin::PluginConfig;
use crate::verify::VerifyConfig;

pub use environment::{Environment, overlay};
pub use load::{ConfigError, File, load, parse};
pub use place::{Place, Step};

/// Everything that can be configured. `anomalyzer.example.toml` explains every key.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the history, the local bus and what detectors know are kept.
    pub data_dir: PathBuf,
    /// Where it answers, and whom.
    pub api: ApiConfig,
    /// Joins the parts by Kafka. Without it, by a bus in this process.
    pub kafka: Option<KafkaConfig>,
    /// The bus in this process.
    pub local_bus: LocalBusConfig,
    /// Where samples come from.
    pub collect: CollectConfig,
    /// What is watched.
    pub signal: Vec<Spanned<SignalConfig>>,
    /// What looks at samples from someone else whose signal is not configured.
    pub fallback_detectors: Vec<DetectorConfig>,
    /// How long none of a signal's sources must answer before that is a finding.
    #[serde(with = "duration")]
    pub silent_after: Duration,
    /// How often what detectors know is saved.
    pub memory: MemoryConfig,
    /// When an incident is worth a diagnosis.
    pub incidents: IncidentConfig,
    /// The language model. Without it the rules decide.
    pub ollama: Option<OllamaConfig>,
    /// How diagnoses are made.
    pub diagnose: DiagnoserConfig,
    /// What may be done.
    pub guard: Policy,
    /// What actions are granted. Without any, what the shipped ones need.
    pub grant: Option<Vec<Grant>>,
    /// What `rate_limit` patches or calls, per target. It is not offered for others.
    pub rate_limit: Vec<RateLimitConfig>,
    /// How decisions are carried out.
    pub act: ActorConfig,
    /// When and on what it is verified that an action helped.
    pub verify: VerifyConfig,
    /// Process groups of this machine.
    pub local: LocalConfig,
    /// A cluster.
    pub kubernetes: Option<KubernetesConfig>,
    /// Where people are told.
    pub notify: NotifyConfig,
    /// Where requests may go.
    pub http: HttpConfig,
    /// Where plugins are, and their limits.
    pub plugins: PluginConfig,
    /// Where the heads of the record's chains are told.
    pub anchor: AnchorConfig,
    /// How long the record is kept.
    pub retention: RetentionConfig,
    /// What must be passed before a policy or a detector goes live.
    pub trial: Option<TrialConfig>,
    /// The bounds of the history; not for the file.
    #[serde(skip)]
    pub history: HistoryOptions,
}

/// What `rate_limit` does for one target: a merge patch or a request, with `{rate}` in its strings
/// for the requests per second that are let in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// For which target it is offered.
    pub target: Target,
    /// `{ target, patch }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<serde_json::Value>,
    /// `{ method, url, headers, body }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<serde_json::Value>,
    /// The rate when the diagnosis gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
}

impl RateLimitConfig {
    /// As parameters of the action.
    pub fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        for (name, value) in [("patch", &self.patch), ("http", &self.http)] {
            if let Some(value) = value {
                parameters.insert(name.into(), value.clone());
            }
        }
        if let Some(rate) = self.requests_per_second {
            parameters.insert("requests_per_second".into(), rate.into());
        }
        parameters
    }
}

impl Config {
    /// Grants in force: those of the file, or else those of the shipped actions.
    pub fn grants(&self) -> Vec<Grant> {
        self.grant.clone().unwrap_or_else(grants::shipped)
    }

    /// Configuration that decides which actions are candidates for a target.
    pub fn candidates(&self) -> Candidates {
        Candidates {
            grants: self.grants(),
            rate_limited: self
                .rate_limit
                .iter()
                .map(|limit| limit.target.key())
                .collect(),
            capabilities: Capabilities {
                process_groups: self.local.groups.keys().cloned().collect(),
                kubernetes: self
                    .kubernetes
                    .is_some()
                    .then_some(kubernetes::knows as fn(&Target) -> bool),
            },
        }
    }

    /// The signals without their places in the file.
    pub fn signals(&self) -> Vec<SignalConfig> {
        self.signal
            .iter()
            .map(|signal| signal.get_ref().clone())
            .collect()
    }
}

/// Where compiled plugins and built servers are kept.
pub fn cache_folder() -> PathBuf {
    let from = |name: &str, below: &str| {
        std::env::var_os(name).map(|value| PathBuf::from(value).join(below))
    };
    from("XDG_CACHE_HOME", "anomalyzer")
        .or_else(|| from("HOME", ".cache/anomalyzer"))
        .unwrap_or_else(std::env::temp_dir)
}

/// Where plugins are when nothing is said: beside the program, as an installation has them, or
/// where `cargo xtask plugins` puts them.
pub fn plugin_folder() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(std::path::Path::to_owned));
    let candidates = beside.iter().flat_map(|folder| {
        [
            Some(folder.join("plugins")),
            folder.parent().map(|up| up.join("plugins")),
            folder
                .parent()
                .and_then(|up| up.parent())
                .map(|up| up.join("plugins")),
        ]
    });
    candidates
        .flatten()
        .find(|folder| folder.is_dir() && has_wasm(folder))
        .unwrap_or_else(|| PathBuf::from("target/plugins"))
}

fn has_wasm(folder: &std::path::Path) -> bool {
    let wasm = |entry: std::fs::DirEntry| {
        entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "wasm")
    };
    std::fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(wasm))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("anomalyzer-data"),
            api: ApiConfig::default(),
            kafka: None,
            local_bus: LocalBusConfig::default(),
            collect: CollectConfig::default(),
            signal: vec![],
            // The one speaks after 20 samples, the other better, after 200.
            fallback_detectors: ["zscore", "novelty"].map(DetectorConfig::named).into(),
            silent_after: Duration::from_secs(60),
            memory: MemoryConfig::default(),
            incidents: IncidentConfig::default(),
            ollama: None,
            diagnose: DiagnoserConfig::default(),
            guard: Policy::default(),
            grant: None,
            rate_limit: vec![],
            act: ActorConfig::default(),
            verify: VerifyConfig::default(),
            local: LocalConfig::default(),
            kubernetes: None,
            notify: NotifyConfig::default(),
            http: HttpConfig::default(),
            anchor: AnchorConfig::default(),
            retention: RetentionConfig::default(),
            trial: None,
            history: HistoryOptions::default(),
            plugins: PluginConfig {
                folder: plugin_folder(),
                cache: Some(cache_folder().join("compiled")),
                ..PluginConfig::default()
            },
        }
    }
}
