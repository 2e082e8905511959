//! The trial: a backtest that a policy or a detector must pass before it goes live. It fails if the
//! backtest has too many incidents or operations per day.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::{fs, io};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::data::{DataError, RecordedData, of_files, of_history, of_prometheus};
use super::error::BacktestError;
use super::report::Report;
use super::run::run;
use super::setup::BacktestSetup;
use super::trial_config::{HISTORY, PROMETHEUS, TrialConfig};
use crate::csv::CsvOptions;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{PluginKind, millis};
use anomalyzer_history::HistoryReader;
use anomalyzer_plugin_host::{Examined, PluginConfig, Plugins};

/// File in the data folder with a line for each configuration that has passed.
const PASSED: &str = "trial.passed";

/// Upper bounds of a backtest.
#[derive(Clone, Copy, Debug, Default, PartialEq, clap::Args)]
pub struct TrialLimits {
    /// Maximum number of incidents per day
    #[arg(long, value_name = "A_DAY")]
    pub most_incidents: Option<f64>,
    /// Maximum number of operations per day that change a target
    #[arg(long, value_name = "A_DAY")]
    pub most_operations: Option<f64>,
}

impl TrialLimits {
    /// Returns a sentence for each bound that the report exceeds, or for which it has no figure.
    pub fn too_many(&self, report: &Report) -> Vec<String> {
        let bounds = [
            ("incidents", report.incidents_a_day, self.most_incidents),
            ("operations", report.operations_a_day, self.most_operations),
        ];
        let is_bounded = bounds.iter().any(|(_, _, most)| most.is_some());
        if is_bounded && report.days <= 0.0 {
            // Every figure a day is 0 then, so that any configuration would pass.
            return vec!["the samples cover no time, so nothing can be judged".to_owned()];
        }
        bounds
            .into_iter()
            .filter_map(|(what, were, most)| {
                let most = most.filter(|most| were > *most)?;
                Some(format!("{were:.2} {what} a day, at most {most} may be"))
            })
            .collect()
    }
}

/// Reads the history, or the files at the path `from`.
///
/// # Errors
/// Returns an error if the data cannot be read, or if it is empty.
pub async fn recorded(
    from: &str,
    setup: &BacktestSetup,
    options: &CsvOptions,
) -> Result<RecordedData, BacktestError> {
    if from == HISTORY {
        let history =
            HistoryReader::open(&setup.data_dir.join(anomalyzer_history::FILE_NAME)).await;
        let history = history.map_err(|error| BacktestError::Wrong(error.to_string()))?;
        return Ok(RecordedData {
            series: of_history(&history).await?,
            files: vec![],
        });
    }
    Ok(of_files(from.as_ref(), setup, options)?)
}

/// Runs the trial of a configuration with these plugins. Returns false if there is no data yet, and
/// an error if the trial is not passed.
async fn try_out(
    setup: &BacktestSetup,
    trial: &TrialConfig,
    plugins: &Plugins,
) -> Result<bool, String> {
    let failed = |error: BacktestError| {
        format!(
            "the trial ([trial] from = {:?}) can't be held: {error}",
            trial.from
        )
    };
    let data = match trial.from.as_str() {
        PROMETHEUS => {
            let end = now_ms();
            let start = end.saturating_sub(millis(trial.past));
            of_prometheus(setup, start, end, None)
                .await
                .map_err(BacktestError::from)
        }
        HISTORY if !setup.data_dir.join(anomalyzer_history::FILE_NAME).exists() => {
            Err(DataError::Nothing.into())
        }
        from => {
            let data = recorded(from, setup, &trial.csv()).await;
            data.map(|data| data.series)
        }
    };
    let data = match data {
        Err(BacktestError::Data(error @ DataError::Nothing)) => {
            tracing::warn!(%error, "trial skipped: no recorded data yet");
            return Ok(false);
        }
        data => data.map_err(failed)?,
    };
    let never = CancellationToken::new();
    // The span tells log lines about recorded incidents from log lines about present incidents.
    let running = run(setup, plugins, &data, &never, |_| ());
    let report = running
        .instrument(tracing::info_span!("trial"))
        .await
        .map_err(failed)?;
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

/// Checks that a configuration with its detectors passes, or has passed, the trial that it names.
/// The history must be open, because the trial may read it.
///
/// # Errors
/// Returns an error if the trial is not passed, or if it cannot run.
pub async fn must_pass(setup: &BacktestSetup, plugins: &Plugins) -> anyhow::Result<()> {
    let Some(trial) = &setup.trial else {
        return Ok(());
    };
    let key = key(setup, plugins)?;
    let path = setup.data_dir.join(PASSED);
    match fs::read_to_string(&path) {
        Ok(passed) if passed.lines().any(|passed| passed == key) => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            anyhow::bail!("{} can't be read: {error}", path.display())
        }
        _ => {}
    }
    tracing::info!(from = trial.from, "running the trial of the configuration");
    let tried = try_out(setup, trial, plugins).await.map_err(|why| {
        anyhow::anyhow!(
            "{why}; `anomalyzer backtest` shows which: correct the configuration, or its [trial]"
        )
    })?;
    if tried {
        pass(setup, &key)
            .map_err(|error| anyhow::anyhow!("{} can't be written: {error}", path.display()))?;
    }
    Ok(())
}

fn pass(setup: &BacktestSetup, key: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(setup.data_dir.join(PASSED))?;
    file.write_all(format!("{key}\n").as_bytes())?;
    file.sync_all()
}

/// Hashes everything but the data that the outcome depends on.
fn key(setup: &BacktestSetup, plugins: &Plugins) -> anyhow::Result<String> {
    let usable = plugins
        .list()
        .into_iter()
        .filter(|info| info.error.is_none() && info.kind == Some(PluginKind::Detector));
    let detectors: BTreeMap<_, _> = usable.map(|info| (info.name, info.digest)).collect();
    let bytes = serde_json::to_vec(&(&setup.signals, &setup.fallback_detectors, &setup.incidents))?;
    let rest = serde_json::to_vec(&(
        &setup.diagnose,
        &setup.policy,
        (&setup.verify, &setup.timing),
        &setup.trial,
        detectors,
    ))?;
    Ok(hex::encode(
        Sha256::new()
            .chain_update(bytes)
            .chain_update(rest)
            .finalize(),
    ))
}

/// Runs the trial with a new version of a detector beside the other detectors that are live now.
/// This blocks: call it outside of the async threads.
///
/// # Errors
/// Returns the reason why the version must not go live.
pub fn detector_must_pass(
    setup: &BacktestSetup,
    plugins: &Plugins,
    candidate: &Examined,
) -> Result<(), String> {
    let Some(trial) = &setup.trial else {
        return Ok(());
    };
    if candidate.info().kind != Some(PluginKind::Detector) {
        return Ok(());
    }
    let failed = |error: io::Error| format!("the trial can't be held: {error}");
    let folder = tempfile::tempdir().map_err(failed)?;
    let put = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(format!("{name}.wasm")), bytes).map_err(failed)
    };
    for (name, bytes) in plugins.live_bytes()? {
        put(&name, &bytes)?;
    }
    put(&candidate.info().name, candidate.bytes())?;
    let plugin_config = PluginConfig {
        folder: folder.path().to_owned(),
        store: None,
        // The upload checked the signatures.
        require_signature: false,
        ..setup.plugins.clone()
    };
    let beside = Plugins::load(plugin_config).map_err(|error| error.to_string())?;
    if tokio::runtime::Handle::current().block_on(try_out(setup, trial, &beside))? {
        // With this line the next start does not run the trial again.
        key(setup, &beside)
            .and_then(|key| Ok(pass(setup, &key)?))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
