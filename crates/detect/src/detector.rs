//! One detector on one signal: its plugin instance, and the recovery and replacement of it.

mod findings;
mod state;

use std::collections::HashMap;
use std::sync::Arc;

use super::context::{DetectContext, SignalView};
use super::history::History;
use super::restore::RestoreReport;
use super::series::SeriesTable;
use super::state_store::{Hash, Onset, StateStore, settings_hash};
use super::warmup::{Learning, Warmup};
use anomalyzer_domain::{DetectorConfig, Finding, Target, UnixMs};
use anomalyzer_plugin_host::{DetectorHandle, Frame, FrameVerdict, PluginError, Plugins};

/// Number of consecutive faults after which the saved state is no longer trusted: the state itself
/// may cause the faults.
const MAX_TRUSTED_FAULTS: u32 = 2;
/// Maximum number of series in one save.
pub(super) const SAVE_CHUNK: usize = 256;

/// Reason in the finding that ends an anomaly which a restarted detector does not know.
const RESTARTED: &str = "its detector began anew and does not know of it";

/// A finding, and the series that it is about.
#[derive(Clone, Debug)]
pub(super) struct SeriesFinding {
    /// The id of the series in its [`SeriesTable`].
    pub(super) series: u32,
    pub(super) target: Target,
    pub(super) finding: Finding,
}

/// A detector on a signal.
pub(super) struct SignalDetector {
    pub(super) config: DetectorConfig,
    pub(super) settings: Hash,
    handle: DetectorHandle,
    /// True if it replaces a quarantined detector.
    pub(super) is_stand_in: bool,
    /// The ongoing anomalies by series.
    onsets: HashMap<u32, Onset>,
    warmup: Warmup,
    /// True if the instance must be reopened before it evaluates another frame.
    pub(super) must_reopen: bool,
    /// Number of faults since the last evaluated frame.
    faults: u32,
    /// True if the instance was lost because the machine was overloaded. That is no fault of the
    /// saved state.
    is_starved: bool,
    /// Findings from the replayed past that no evaluation has returned yet.
    pending: Vec<SeriesFinding>,
    /// True if its series may share state that must be saved.
    shares_state: bool,
    /// The reason why the detector is no longer saved.
    pub(super) not_saved: Option<String>,
    /// Number of series restored by the last restore.
    pub(super) restored: usize,
    /// The reason why other series were not restored.
    pub(super) not_restored: Option<String>,
}

impl SignalDetector {
    /// Opens an instance of the configured plugin.
    pub(super) async fn open(
        plugins: &Plugins,
        config: &DetectorConfig,
    ) -> Result<Self, PluginError> {
        let handle = open_instance(plugins, config).await?;
        Ok(Self {
            config: config.clone(),
            settings: settings_hash(config),
            warmup: Warmup::new(handle.min_samples()),
            handle,
            is_stand_in: false,
            onsets: HashMap::new(),
            must_reopen: false,
            faults: 0,
            is_starved: false,
            pending: Vec::new(),
            shares_state: true,
            not_saved: None,
            restored: 0,
            not_restored: None,
        })
    }

    /// Returns `name@version`.
    pub(super) fn title(&self) -> String {
        format!("{}@{}", self.handle.name(), self.handle.version())
    }

    /// Returns the length of the past that the detector wants to see, in milliseconds.
    pub(super) fn history_ms(&self) -> u64 {
        self.handle.history_ms()
    }

    /// Returns the SHA-256 of the plugin's bytes.
    pub(super) fn digest(&self) -> &str {
        self.handle.digest()
    }

    /// Returns the progress of the warm-up, if a series is still in it.
    pub(super) fn learning(&mut self, table: &SeriesTable, now: UnixMs) -> Option<Learning> {
        self.warmup.status(&self.config.name, table, now)
    }

    /// Returns the reason if the detector never learns; see [`Warmup::never_learns`].
    pub(super) fn never_learns(&self, now: UnixMs) -> Option<String> {
        self.warmup.never_learns(&self.config.name, now)
    }

    /// Returns true if the detector knows an ongoing anomaly of a series.
    pub(super) fn has_onset(&self, series: u32) -> bool {
        self.onsets.contains_key(&series)
    }

    /// Adds an ongoing anomaly, unless the detector knows one on that series.
    pub(super) fn restore_onset(&mut self, series: u32, onset: Onset) {
        self.onsets.entry(series).or_insert(onset);
    }

    /// Forgets the ongoing anomalies of these series.
    pub(super) fn forget_onsets(&mut self, series: &[u32]) {
        for id in series {
            self.onsets.remove(id);
        }
    }

    /// Evaluates a frame and returns the findings, with pending findings from a recovery.
    ///
    /// If the plugin loses its instance, this recovers it once and evaluates the frame again.
    ///
    /// # Errors
    /// The plugin failed, or may not be reopened yet because of a back-off or a quarantine.
    #[tracing::instrument(skip_all, fields(signal = of.signal, plugin = self.config.name))]
    pub(super) async fn evaluate(
        &mut self,
        of: SignalView<'_>,
        frame: &Arc<Frame>,
        store: Option<&StateStore>,
    ) -> Result<Vec<SeriesFinding>, PluginError> {
        if !self.must_reopen {
            match self.handle.observe(Arc::clone(frame), false).await {
                Ok(verdict) => {
                    self.faults = 0;
                    self.warmup.take(frame);
                    return Ok(self.read_verdict(of, frame, verdict, false));
                }
                Err(error) if !error.lost_instance() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "detector failed; reopening it with its saved state");
                    self.must_reopen = true;
                    self.is_starved = error.is_starvation();
                }
            }
        }
        self.recover(of, frame, store).await?;
        self.evaluate_again(of, frame).await
    }

    /// Reopens the instance, restores its saved state, and replays the newer samples before
    /// `frame`.
    async fn recover(
        &mut self,
        of: SignalView<'_>,
        frame: &Frame,
        store: Option<&StateStore>,
    ) -> Result<(), PluginError> {
        self.handle.reopen().await?;
        let is_trusted = self.faults < MAX_TRUSTED_FAULTS;
        self.faults += u32::from(!std::mem::take(&mut self.is_starved));
        let mut report = RestoreReport::default();
        if let Some(store) = store.filter(|_| is_trusted && self.handle.is_stateful()) {
            let restored = self.restore_from(store, &self.handle, of, &mut report);
            if !restored.await {
                self.faults += 1;
            }
            self.note_restore(&report);
        }
        let past = of.table.recent_past(frame);
        let (found, unknown) = self.learn(of, &past, &report).await?;
        self.pending.extend(found);
        let ended = self.end_series(of, &unknown, frame.now, RESTARTED);
        self.pending.extend(ended);
        Ok(())
    }

    /// Evaluates the frame that a recovery interrupted. The replayed past has already announced its
    /// series.
    async fn evaluate_again(
        &mut self,
        of: SignalView<'_>,
        frame: &Frame,
    ) -> Result<Vec<SeriesFinding>, PluginError> {
        let without_opened = Frame {
            opened: vec![],
            ..Frame::clone(frame)
        };
        let verdict = self.handle.observe(without_opened, false).await;
        if let Err(error) = &verdict
            && error.lost_instance()
        {
            self.must_reopen = true;
            self.is_starved = error.is_starvation();
        }
        let verdict = verdict?;
        self.faults = 0;
        self.warmup.count(frame);
        let mut found = std::mem::take(&mut self.pending);
        found.extend(self.read_verdict(of, frame, verdict, false));
        Ok(found)
    }

    /// Replays the past of the series to a new instance. A restored series gets only its newer
    /// samples.
    ///
    /// Returns the findings, and the series whose ongoing anomaly the instance does not know.
    pub(super) async fn learn(
        &mut self,
        of: SignalView<'_>,
        history: &History,
        report: &RestoreReport,
    ) -> Result<(Vec<SeriesFinding>, Vec<u32>), PluginError> {
        let frame = Arc::new(history.frame(&report.series));
        self.must_reopen = true;
        let verdict = replay(&self.handle, &frame).await?;
        self.must_reopen = false;
        self.warmup.restart(&report.warming_up);
        self.warmup.take(&frame);
        Ok(self.reduce_past(of, &frame, verdict))
    }

    /// Replaces the instance by the live version of the plugin. The new version gets the state of
    /// this one, and replays the samples at hand that are not in that state.
    ///
    /// # Errors
    /// The new version does not open, or fails while the past is replayed. Then this instance
    /// stays.
    #[tracing::instrument(skip_all, fields(signal = of.signal, plugin = self.config.name))]
    pub(super) async fn swap(
        &mut self,
        of: SignalView<'_>,
        now: UnixMs,
        context: &DetectContext,
    ) -> Result<Vec<SeriesFinding>, PluginError> {
        let handle = open_instance(&context.plugins, &self.config).await?;
        let (mut report, mut survived) = (RestoreReport::default(), true);
        match &context.store {
            _ if !handle.is_stateful() => {}
            // This instance is lost. Only the stored state is left.
            Some(store) if self.must_reopen => {
                survived = self.restore_from(store, &handle, of, &mut report).await;
            }
            _ => survived = self.hand_over(&handle, of, &mut report).await,
        }
        let past = of.table.recent_past(&Frame {
            now,
            ..Frame::default()
        });
        let frame = Arc::new(past.frame(&report.series));
        let verdict = replay(&handle, &frame).await?;
        tracing::info!(
            version = handle.version(),
            plugin.digest = handle.digest(),
            before = self.handle.version(),
            restored = report.series.len(),
            "another version of a detector took over"
        );
        self.warmup = Warmup::new(handle.min_samples());
        self.warmup.restart(&report.warming_up);
        self.warmup.take(&frame);
        self.handle = handle;
        self.must_reopen = false;
        self.faults = u32::from(!survived);
        self.shares_state = true;
        self.not_saved = None;
        self.note_restore(&report);
        let mut found = std::mem::take(&mut self.pending);
        let (learnt, unknown) = self.reduce_past(of, &frame, verdict);
        found.extend(learnt);
        found.extend(self.end_series(of, &unknown, now, RESTARTED));
        Ok(found)
    }
}

async fn open_instance(
    plugins: &Plugins,
    config: &DetectorConfig,
) -> Result<DetectorHandle, PluginError> {
    plugins
        .detector(
            &config.name,
            &serde_json::Value::Object(config.settings.clone()),
        )
        .await
}

/// Replays the past to an instance, if there is any.
async fn replay(handle: &DetectorHandle, past: &Arc<Frame>) -> Result<FrameVerdict, PluginError> {
    match past.opened.is_empty() && past.is_empty() {
        true => Ok(FrameVerdict::default()),
        false => handle.observe(Arc::clone(past), false).await,
    }
}
