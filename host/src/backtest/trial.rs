//! What a policy or a detector must pass before it goes live: a backtest in which not too much
//! would have happened.

use crate::domain::millis;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{BacktestError, DataError, Recorded, Report, of_files, of_history, of_prometheus, run};
use crate::common::clock::now_ms;
use crate::config::Config;
use crate::domain::{PluginKind, duration};
use crate::history;
use crate::history::HistoryReader;
use crate::plugin::{Examined, PluginConfig, Plugins};

/// Where it stands in the data folder what has passed.
const PASSED: &str = "trial.passed";

/// What is to be run through where it is no file.
const HISTORY: &str = "history";
const PROMETHEUS: &str = "prometheus";

/// More than that is too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, clap::Args)]
pub struct TrialLimits {
    /// More incidents a day than that are too many
    #[arg(long, value_name = "A_DAY")]
    pub most_incidents: Option<f64>,
    /// More operations a day that change something than that are too many
    #[arg(long, value_name = "A_DAY")]
    pub most_operations: Option<f64>,
}

impl TrialLimits {
    /// What there was too much of, in words.
    pub fn too_many(&self, report: &Report) -> Vec<String> {
        [
            ("incidents", report.incidents_a_day, self.most_incidents),
            ("operations", report.operations_a_day, self.most_operations),
        ]
        .into_iter()
        .filter_map(|(what, were, most)| {
            let most = most.filter(|most| were > *most)?;
            Some(format!("{were:.2} {what} a day, at most {most} may be"))
        })
        .collect()
    }
}

/// The trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialConfig {
    /// A CSV file, a folder of them, `prometheus` for the one that is configured, or `history`.
    pub from: String,
    /// Of Prometheus, how much of the past.
    #[serde(default = "week", with = "duration")]
    pub past: Duration,
    /// More incidents a day than that are too many.
    #[serde(default)]
    pub most_incidents: Option<f64>,
    /// More operations a day that change something than that are too many.
    #[serde(default)]
    pub most_operations: Option<f64>,
}

fn week() -> Duration {
    Duration::from_secs(7 * 86_400)
}

/// Reads files, or the history.
///
/// # Errors
/// There is nothing of use.
pub async fn recorded(from: &str, config: &Config) -> Result<Vec<Recorded>, BacktestError> {
    if from == HISTORY {
        let history = HistoryReader::open(&config.data_dir.join(history::FILE_NAME)).await;
        let history = history.map_err(|error| BacktestError::Wrong(error.to_string()))?;
        return Ok(of_history(&history).await?);
    }
    Ok(of_files(from.as_ref(), config)?)
}

/// Runs the trial of a configuration, with these plugins. False if there is nothing to run yet; the
/// error is why it was not passed.
async fn try_out(config: &Config, trial: &TrialConfig, plugins: &Plugins) -> Result<bool, String> {
    let told = |error: BacktestError| {
        format!(
            "the trial ([trial] from = {:?}) can't be held: {error}",
            trial.from
        )
    };
    let data = match trial.from.as_str() {
        PROMETHEUS => {
            let end = now_ms();
            let start = end.saturating_sub(millis(trial.past));
            of_prometheus(config, start, end, None)
                .await
                .map_err(BacktestError::from)
        }
        HISTORY if !config.data_dir.join(history::FILE_NAME).exists() => {
            Err(DataError::Nothing.into())
        }
        from => recorded(from, config).await,
    };
    let data = match data {
        Err(BacktestError::Data(error @ DataError::Nothing)) => {
            tracing::warn!(%error, "there is nothing yet that this could be tried on");
            return Ok(false);
        }
        data => data.map_err(told)?,
    };
    // What is found in it did not happen now.
    let never = CancellationToken::new();
    let running = run(config, plugins, &data, &never, |_| ());
    let report = running
        .instrument(tracing::info_span!("trial"))
        .await
        .map_err(told)?;
    let limits = TrialLimits {
        most_incidents: trial.most_incidents,
        most_operations: trial.most_operations,
    };
    let too_many = limits.too_many(&report);
    if too_many.is_empty() {
        return Ok(true);
    }
    Err(format!(
        "the trial on {} is not passed: {}",
        trial.from,
        too_many.join(", and ")
    ))
}

/// Lets a configuration with its detectors start only if it passes, or has passed, the trial that
/// it names. To be asked when the history is open: it may be what the trial is on.
///
/// # Errors
/// It doesn't, or it can't be tried.
pub async fn must_pass(config: &Config, plugins: &Plugins) -> anyhow::Result<()> {
    let Some(trial) = &config.trial else {
        return Ok(());
    };
    let key = key(config, plugins)?;
    let path = config.data_dir.join(PASSED);
    match fs::read_to_string(&path) {
        Ok(passed) if passed.lines().any(|passed| passed == key) => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            anyhow::bail!("{} can't be read: {error}", path.display())
        }
        _ => {}
    }
    tracing::info!(from = trial.from, "trying out the configuration");
    let tried = try_out(config, trial, plugins).await.map_err(|why| {
        anyhow::anyhow!(
            "{why}; `anomalyzer backtest` shows which: correct the configuration, or its [trial]"
        )
    })?;
    if tried {
        pass(config, &key)
            .map_err(|error| anyhow::anyhow!("{} can't be written: {error}", path.display()))?;
    }
    Ok(())
}

fn pass(config: &Config, key: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(config.data_dir.join(PASSED))?;
    file.write_all(format!("{key}\n").as_bytes())?;
    file.sync_all()
}

/// What the outcome depends on, as far as it is not the data.
fn key(config: &Config, plugins: &Plugins) -> anyhow::Result<String> {
    let usable = plugins
        .list()
        .into_iter()
        .filter(|info| info.error.is_none() && info.kind == Some(PluginKind::Detector));
    let detectors: BTreeMap<_, _> = usable.map(|info| (info.name, info.digest)).collect();
    let bytes = serde_json::to_vec(&(
        &config.signal,
        &config.fallback_detectors,
        &config.incidents,
    ))?;
    let rest = serde_json::to_vec(&(
        &config.diagnose,
        &config.guard,
        &config.verify,
        &config.trial,
        detectors,
    ))?;
    Ok(hex::encode(
        Sha256::new()
            .chain_update(bytes)
            .chain_update(rest)
            .finalize(),
    ))
}

/// Tries a version of a detector beside the others that are live now. To be called off the async
/// threads.
///
/// # Errors
/// Why it may not go live.
pub fn detector_must_pass(
    config: &Config,
    plugins: &Plugins,
    candidate: &Examined,
) -> Result<(), String> {
    let Some(trial) = &config.trial else {
        return Ok(());
    };
    if candidate.info().kind != Some(PluginKind::Detector) {
        return Ok(());
    }
    let told = |error: io::Error| format!("the trial can't be held: {error}");
    let folder = tempfile::tempdir().map_err(told)?;
    let put = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(format!("{name}.wasm")), bytes).map_err(told)
    };
    for (name, bytes) in plugins.live_bytes()? {
        put(&name, &bytes)?;
    }
    put(&candidate.info().name, candidate.bytes())?;
    let plugin_config = PluginConfig {
        folder: folder.path().to_owned(),
        store: None,
        // They were checked when they were taken in.
        require_signature: false,
        ..config.plugins.clone()
    };
    let beside = Plugins::load(plugin_config).map_err(|error| error.to_string())?;
    if tokio::runtime::Handle::current().block_on(try_out(config, trial, &beside))? {
        // So that the next start need not try it again.
        key(config, &beside)
            .and_then(|key| Ok(pass(config, &key)?))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

impl TrialConfig {
    /// Whether it can be held and can be failed.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.most_incidents.is_none() && self.most_operations.is_none() {
            return Err(
                "everything would pass: say `most_incidents` or `most_operations` (a day)"
                    .to_owned(),
            );
        }
        if ![HISTORY, PROMETHEUS].contains(&self.from.as_str()) && !Path::new(&self.from).exists() {
            return Err(format!(
                "there is no {}: name a CSV file, a folder of them, `prometheus`, or `history`",
                self.from
            ));
        }
        Ok(())
    }
}
