//! Settings of a backtest.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::trial_config::TrialConfig;
use anomalyzer_collect::{CollectConfig, SignalConfig};
use anomalyzer_detect::IncidentConfig;
use anomalyzer_diagnose::DiagnoserConfig;
use anomalyzer_domain::DetectorConfig;
use anomalyzer_plugin_host::PluginConfig;
use anomalyzer_policy::Policy;
use anomalyzer_remediate::Candidates;
use anomalyzer_verification::{SignalTiming, VerifyConfig};

/// The settings of the service that a backtest depends on.
#[derive(Clone, Debug)]
pub struct BacktestSetup {
    /// Folder of the history, and of the list of passed trials.
    pub data_dir: PathBuf,
    /// Configured signals.
    pub signals: Vec<SignalConfig>,
    /// Interval of the samples, and the Prometheus that has the past.
    pub collect: CollectConfig,
    /// Detectors on signals that are not configured.
    pub fallback_detectors: Vec<DetectorConfig>,
    /// Time without an answer after which the absence of a signal is a finding.
    pub silent_after: Duration,
    /// Thresholds of incidents.
    pub incidents: IncidentConfig,
    /// Bounds of a diagnosis.
    pub diagnose: DiagnoserConfig,
    /// Policy of the guard.
    pub policy: Policy,
    /// Settings that decide which actions may be proposed.
    pub candidates: Candidates,
    /// Times after which the effect of an operation is verified.
    pub verify: VerifyConfig,
    /// Timing of the samples, by signal. It may lengthen a verification.
    pub timing: BTreeMap<String, SignalTiming>,
    /// Limits and compiler of the plugins, for the trial of an uploaded detector.
    pub plugins: PluginConfig,
    /// Trial that a configuration or a detector must pass.
    pub trial: Option<TrialConfig>,
}
