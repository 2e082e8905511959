//! Settings of the trial.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::csv::{CsvOptions, Decimal, TimeFormat};
use anomalyzer_domain::{ConfigIssue, duration};

/// Value of [`TrialConfig::from`] for the history.
pub(super) const HISTORY: &str = "history";
/// Value of [`TrialConfig::from`] for the configured Prometheus.
pub(super) const PROMETHEUS: &str = "prometheus";

/// `[trial]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialConfig {
    /// A CSV file, a folder of CSV files, `prometheus` for the configured Prometheus, or `history`.
    pub from: String,
    /// Length of the past that is read from Prometheus.
    #[serde(default = "week", with = "duration")]
    pub past: Duration,
    /// Maximum number of incidents per day.
    #[serde(default)]
    pub most_incidents: Option<f64>,
    /// Maximum number of operations per day that change a target.
    #[serde(default)]
    pub most_operations: Option<f64>,
    /// Form of the times in CSV files, as `--time-format` of `anomalyzer backtest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_format: Option<TimeFormat>,
    /// Decimal mark in CSV files, as `--decimal` of `anomalyzer backtest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal: Option<Decimal>,
}

fn week() -> Duration {
    Duration::from_secs(7 * 86_400)
}

impl TrialConfig {
    pub(super) fn csv(&self) -> CsvOptions {
        CsvOptions {
            time_format: self.time_format.clone(),
            decimal: self.decimal,
        }
    }

    /// Checks that the trial has a bound, and that its data exists.
    ///
    /// # Errors
    /// Returns an error if every backtest would pass, or if there is no file at `from`.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        if self.most_incidents.is_none() && self.most_operations.is_none() {
            return Err(ConfigIssue::new(
                "everything would pass: say `most_incidents` or `most_operations` (a day)",
            ));
        }
        if ![HISTORY, PROMETHEUS].contains(&self.from.as_str()) && !Path::new(&self.from).exists() {
            let message = format!(
                "there is no {}: name a CSV file, a folder of them, `prometheus`, or `history`",
                self.from
            );
            return Err(ConfigIssue::at("from", message));
        }
        Ok(())
    }
}
