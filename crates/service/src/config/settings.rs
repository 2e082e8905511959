//! All settings, and their defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::folders::{cache_folder, plugin_folder};
use super::rate_limit::RateLimitConfig;
use anomalyzer_api::ApiConfig;
use anomalyzer_bus_kafka::KafkaConfig;
use anomalyzer_bus_sqlite::LocalBusConfig;
use anomalyzer_collect::{CollectConfig, SignalConfig};
use anomalyzer_detect::{IncidentConfig, StateStoreConfig};
use anomalyzer_diagnose::{DiagnoserConfig, OllamaConfig};
use anomalyzer_domain::{DetectorConfig, Grant, Target, duration};
use anomalyzer_egress::http::HttpConfig;
use anomalyzer_egress::notify::NotifyConfig;
use anomalyzer_evaluate::backtest::{BacktestSetup, TrialConfig};
use anomalyzer_history::{AnchorConfig, AuditConfig, HistoryOptions, RetentionConfig};
use anomalyzer_operator_kubernetes::KubernetesConfig;
use anomalyzer_operator_process::LocalConfig;
use anomalyzer_plugin_host::PluginConfig;
use anomalyzer_policy::{Policy, grants};
use anomalyzer_remediate::{Candidates, Capabilities, ExecutorConfig};
use anomalyzer_verification::{SignalTiming, VerifyConfig};

/// All settings. `anomalyzer.example.toml` explains every key.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the history, the local bus and the state of the detectors.
    pub data_dir: PathBuf,
    /// Addresses and tokens of the API.
    pub api: ApiConfig,
    /// Kafka between the two halves. Without it they share a bus in this process.
    pub kafka: Option<KafkaConfig>,
    /// Bounds of the bus in this process.
    pub local_bus: LocalBusConfig,
    /// Sources of the samples.
    pub collect: CollectConfig,
    /// Watched signals.
    pub signal: Vec<SignalConfig>,
    /// Detectors on samples from other producers whose signal is not configured.
    pub fallback_detectors: Vec<DetectorConfig>,
    /// Time without an answer from any source of a signal after which its absence is a finding.
    #[serde(with = "duration")]
    pub silent_after: Duration,
    /// Interval at which the state of the detectors is saved.
    pub memory: StateStoreConfig,
    /// Thresholds at which an incident is diagnosed.
    pub incidents: IncidentConfig,
    /// Language model. Without it the rules decide.
    pub ollama: Option<OllamaConfig>,
    /// Bounds of a diagnosis.
    pub diagnose: DiagnoserConfig,
    /// Policy of the guard.
    pub guard: Policy,
    /// Grants of the actions. Without this key, the shipped actions get the grants that they need.
    pub grant: Option<Vec<Grant>>,
    /// Patch or request of `rate_limit` per target. Other targets are never offered `rate_limit`.
    pub rate_limit: Vec<RateLimitConfig>,
    /// Bounds of the execution of decisions.
    pub act: ExecutorConfig,
    /// Timing and samples of the verification after an action.
    pub verify: VerifyConfig,
    /// Process groups of this machine.
    pub local: LocalConfig,
    /// Kubernetes cluster.
    pub kubernetes: Option<KubernetesConfig>,
    /// Channels for notices to people.
    pub notify: NotifyConfig,
    /// Allowed destinations of HTTP requests.
    pub http: HttpConfig,
    /// Folder and limits of the plugins.
    pub plugins: PluginConfig,
    /// Receivers of the heads of the audit chains.
    pub anchor: AnchorConfig,
    /// Retention of the record.
    pub retention: RetentionConfig,
    /// Verification of the record while the service runs.
    pub audit: AuditConfig,
    /// Backtest that a policy or a detector must pass before it goes live.
    pub trial: Option<TrialConfig>,
    /// Bounds of the history. The file cannot set them.
    #[serde(skip)]
    pub history: HistoryOptions,
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
            // `zscore` is ready after 20 samples. `novelty` is the better detector and needs 200.
            fallback_detectors: ["zscore", "novelty"].map(DetectorConfig::named).into(),
            silent_after: Duration::from_secs(60),
            memory: StateStoreConfig::default(),
            incidents: IncidentConfig::default(),
            ollama: None,
            diagnose: DiagnoserConfig::default(),
            guard: Policy::default(),
            grant: None,
            rate_limit: vec![],
            act: ExecutorConfig::default(),
            verify: VerifyConfig::default(),
            local: LocalConfig::default(),
            kubernetes: None,
            notify: NotifyConfig::default(),
            http: HttpConfig::default(),
            anchor: AnchorConfig::default(),
            retention: RetentionConfig::default(),
            audit: AuditConfig::default(),
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

impl Config {
    /// Returns the configured signals.
    pub fn signals(&self) -> Vec<SignalConfig> {
        self.signal.clone()
    }

    /// Returns the configured grants. Without any, returns the grants of the shipped actions.
    pub fn grants(&self) -> Vec<Grant> {
        self.grant.clone().unwrap_or_else(grants::shipped)
    }

    /// Returns the settings that decide which actions are candidates for a target.
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
                    .then_some(anomalyzer_operator_kubernetes::knows as fn(&Target) -> bool),
            },
        }
    }

    /// Returns the timing of the samples of each signal.
    pub fn signal_timing(&self) -> BTreeMap<String, SignalTiming> {
        let signals = self.signals().into_iter();
        let timing = signals.map(|signal| {
            let timing = SignalTiming {
                look_back: signal.source.look_back(),
                interval: signal.interval.unwrap_or(self.collect.interval),
            };
            (signal.name, timing)
        });
        timing.collect()
    }

    /// Returns the settings of a backtest.
    pub fn backtest(&self) -> BacktestSetup {
        BacktestSetup {
            data_dir: self.data_dir.clone(),
            signals: self.signals(),
            collect: self.collect.clone(),
            fallback_detectors: self.fallback_detectors.clone(),
            silent_after: self.silent_after,
            incidents: self.incidents.clone(),
            diagnose: self.diagnose.clone(),
            policy: self.guard.clone(),
            candidates: self.candidates(),
            verify: self.verify.clone(),
            timing: self.signal_timing(),
            plugins: self.plugins.clone(),
            trial: self.trial.clone(),
        }
    }
}
