//! The plugins of the start, and the trial that they must pass.

use std::sync::Arc;
use std::time::Duration;

use anomalyzer_evaluate::backtest;

use super::parts::Startup;
use crate::background::{self, EngineWork};
use crate::plugins;

/// Longest wait at the start for the plugins, and for the engine to open its detectors. Only the
/// report that the service is ready waits for them.
const PLUGINS_TIMEOUT: Duration = Duration::from_secs(10);

impl Startup {
    /// Makes every version of a detector that is added from now on pass the trial, if the
    /// configuration asks for one.
    pub(super) fn set_trial(&self) {
        let setup = self.config.backtest();
        if setup.trial.is_some() {
            // The plugins own this closure, so a strong reference would be a cycle.
            let plugins = self.plugins.downgrade();
            self.plugins
                .set_trial(Box::new(move |candidate| match plugins.upgrade() {
                    Some(plugins) => backtest::detector_must_pass(&setup, &plugins, candidate),
                    None => Err("the service ends".to_owned()),
                }));
        }
    }

    /// Loads the plugins, replays recorded metrics to the detectors if the configuration asks for
    /// it, and starts detection and diagnosis. Without a trial, plugins that load slowly are not
    /// waited for: whoever needs one of them waits for it alone.
    pub(super) async fn plugins(&self, work: Option<Arc<EngineWork>>) -> anyhow::Result<()> {
        let (plugins, shutdown) = (self.plugins.clone(), self.tasks.shutdown().clone());
        self.tasks.spawn(plugins::load(plugins, shutdown));
        let setup = self.config.backtest();
        match setup.trial.is_some() {
            true => self.plugins.loaded().await,
            // The time only bounds the wait.
            false => drop(tokio::time::timeout(PLUGINS_TIMEOUT, self.plugins.loaded()).await),
        }
        backtest::must_pass(&setup, &self.plugins).await?;
        if let Some(work) = work {
            background::spawn_engine_tasks(&self.tasks, &work);
            drop(tokio::time::timeout(PLUGINS_TIMEOUT, work.engine.built()).await);
        }
        Ok(())
    }
}
