//! One detector on one signal: its plugin instance, the ongoing anomalies of its series, and the
//! recovery of its state.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::context::{DetectContext, SignalView};
use super::history::History;
use super::restore::{RestoreReport, ToRestore, restore_series};
use super::series::SeriesTable;
use super::state_store::{Hash, Onset, RowKey, SavedState, StateStore, settings_hash};
use super::warmup::{Learning, Warmup};
use anomalyzer_domain::{
    DetectorConfig, Direction, Finding, FindingId, Labels, Phase, Target, UnixMs,
};
use anomalyzer_plugin_host::{DetectorHandle, Frame, PluginError, Plugins, Verdict};

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
pub(super) struct Detector {
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

impl Detector {
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

    /// Restores the saved state of the open series into `handle`. Returns false if the instance was
    /// lost in the restore.
    async fn restore_from(
        &self,
        store: &StateStore,
        handle: &DetectorHandle,
        of: SignalView<'_>,
        report: &mut RestoreReport,
    ) -> bool {
        let mut next = Some(RowKey::default());
        while let Some(after) = next {
            let page = match store.page(of.signal, &after).await {
                Ok(page) => page,
                Err(error) => {
                    report.refuse(1, error.to_string());
                    return true;
                }
            };
            let mut states: Vec<ToRestore> = Vec::new();
            for state in page.rows {
                let id = state
                    .series
                    .as_ref()
                    .map(|(target, labels)| of.table.id(target, labels));
                // `Some(None)`: the series is not open.
                if self.owns(&state) && id != Some(None) {
                    states.push((id.flatten(), state));
                }
            }
            if !restore_series(handle, states, report).await {
                return false;
            }
            next = page.next;
        }
        true
    }

    /// Returns true if a detector with this name and these settings saved the state.
    pub(super) fn owns(&self, state: &SavedState) -> bool {
        self.config.name == state.detector && self.settings == state.settings
    }

    /// Copies the state of this instance into `handle`, which runs another version. Returns false
    /// if the new instance was lost in the restore.
    async fn hand_over(
        &mut self,
        handle: &DetectorHandle,
        of: SignalView<'_>,
        report: &mut RestoreReport,
    ) -> bool {
        let id = |state: &SavedState| {
            state
                .series
                .as_ref()
                .and_then(|(target, labels)| of.table.id(target, labels))
        };
        let ids = of.table.ids();
        for chunk in ids.chunks(SAVE_CHUNK) {
            let states = self
                .save(of.table, chunk)
                .await
                .into_iter()
                .map(|state| (id(&state), state))
                .collect();
            if !restore_series(handle, states, report).await {
                return false;
            }
        }
        if let Some(why) = &self.not_saved {
            report.refuse(
                ids.len() - report.series.len(),
                format!("it could not be saved: {why}"),
            );
        }
        true
    }

    /// Returns true if the series of the detector may share state.
    pub(super) async fn may_share_state(&self) -> bool {
        if !self.handle.is_stateful() || self.must_reopen {
            return true;
        }
        self.shares_state
            && !matches!(
                self.handle.save(vec![None]).await.as_deref(),
                Ok([Ok(None)])
            )
    }

    /// Notes the outcome of a restore for the status.
    pub(super) fn note_restore(&mut self, report: &RestoreReport) {
        self.restored = report.series.len();
        self.not_restored = report
            .why
            .as_ref()
            .map(|why| format!("{} of its series: {why}", report.refused));
        if let Some(why) = &self.not_restored {
            tracing::warn!(
                plugin = self.config.name,
                why,
                "part of the saved state was not restored"
            );
        }
    }

    /// Restores series with their saved state. Returns false if the instance was lost in the
    /// restore. The present instance is then new and has no state.
    pub(super) async fn restore(
        &mut self,
        states: Vec<ToRestore>,
        report: &mut RestoreReport,
    ) -> bool {
        let survived = restore_series(&self.handle, states, report).await;
        self.faults += u32::from(!survived);
        survived
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

    /// Reduces the findings about the past to the changes that count now. An anomaly that began and
    /// ended in the past is dropped. An anomaly that is ongoing at its end is a new finding, unless
    /// it was known before.
    fn reduce_past(
        &mut self,
        of: SignalView<'_>,
        frame: &Frame,
        verdict: Verdict,
    ) -> (Vec<SeriesFinding>, Vec<u32>) {
        let mut known: HashSet<u32> = self.onsets.keys().copied().collect();
        let mut found = Vec::new();
        let mut ongoing: BTreeMap<u32, SeriesFinding> = BTreeMap::new();
        for finding in self.read_verdict(of, frame, verdict, true) {
            let series = finding.series;
            match finding.finding.phase {
                Phase::Clear => {
                    let was_known = known.remove(&series);
                    if ongoing.remove(&series).is_none() || was_known {
                        found.push(finding);
                    }
                }
                Phase::Onset | Phase::Ongoing => {
                    ongoing.insert(series, finding);
                }
            }
        }
        let announced = frame.opened.iter().map(|(id, _)| *id);
        let unknown = announced
            .filter(|id| known.contains(id) && !ongoing.contains_key(id))
            .collect();
        let new = ongoing.into_values();
        found.extend(new.filter(|finding| !known.contains(&finding.series)));
        (found, unknown)
    }

    /// Returns the state of these series for the store. After a fault in `save` the detector is not
    /// asked again.
    pub(super) async fn save(&mut self, table: &SeriesTable, ids: &[u32]) -> Vec<SavedState> {
        let mut states = Vec::new();
        if !self.handle.is_stateful() || self.not_saved.is_some() || self.must_reopen {
            return states;
        }
        let mut wanted: Vec<Option<u32>> = self.shares_state.then_some(None).into_iter().collect();
        let is_open = |id: &u32| table.watermark(*id).is_some();
        wanted.extend(ids.iter().copied().filter(is_open).map(Some));
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let answers = match self.handle.save(rest.to_vec()).await {
                Ok(answers) if !answers.is_empty() => answers,
                Ok(_) => break,
                Err(error) => {
                    // An instance that was lost before did not fail over this save.
                    if error.is_starvation() {
                        (self.must_reopen, self.is_starved) = (true, true);
                    } else if error.lost_instance() && !matches!(error, PluginError::Lost(_)) {
                        let plugin = &self.config.name;
                        tracing::warn!(plugin, %error, "detector failed to save its state; its state is no longer saved");
                        self.not_saved = Some(error.to_string());
                    }
                    break;
                }
            };
            let (done, left) = rest.split_at(answers.len().min(rest.len()));
            rest = left;
            for (of, answer) in done.iter().zip(answers) {
                let saved = answer.unwrap_or_else(|error| {
                    let plugin = &self.config.name;
                    tracing::debug!(plugin, series = of, %error, "a series is not saved");
                    None
                });
                match of {
                    Some(id) => states.extend(self.saved_state(table, *id, saved)),
                    None if saved.is_some() => {
                        states.push(self.row(None, UnixMs::MIN, None, saved));
                    }
                    None => self.shares_state = false,
                }
            }
        }
        states
    }

    fn saved_state(
        &self,
        table: &SeriesTable,
        id: u32,
        saved: Option<Vec<u8>>,
    ) -> Option<SavedState> {
        let (target, labels) = table.get(id)?;
        let series = (target.clone(), labels.clone());
        let onset = self.onsets.get(&id).cloned();
        let state = self.row(Some(series), table.watermark(id)?, onset, saved);
        Some(SavedState {
            seen: self.warmup.seen(id),
            ..state
        })
    }

    fn row(
        &self,
        series: Option<(Target, Labels)>,
        watermark: UnixMs,
        onset: Option<Onset>,
        saved: Option<Vec<u8>>,
    ) -> SavedState {
        SavedState {
            series,
            detector: self.config.name.clone(),
            settings: self.settings,
            version: self.handle.version().to_owned(),
            digest: self.handle.digest().to_owned(),
            watermark,
            seen: None,
            onset,
            saved,
        }
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

    /// Turns a verdict into findings. If the frame is `replayed`, the onset of a known anomaly
    /// starts no new one.
    fn read_verdict(
        &mut self,
        of: SignalView<'_>,
        frame: &Frame,
        verdict: Verdict,
        replayed: bool,
    ) -> Vec<SeriesFinding> {
        let mut found = Vec::with_capacity(verdict.findings.len());
        for raw in verdict.findings {
            let index = raw.sample as usize;
            let (Some(&id), Some(&at)) = (frame.ids.get(index), frame.at.get(index)) else {
                continue;
            };
            let Some((target, labels)) = of.table.get(id) else {
                continue;
            };
            let onset = match (raw.phase, self.onsets.remove(&id)) {
                (Phase::Onset, Some(known)) if replayed => known,
                (Phase::Ongoing | Phase::Clear, Some(known)) => known,
                (Phase::Onset, _) | (_, None) => Onset {
                    at,
                    finding: self.finding_id(of.signal, target, labels, at),
                },
            };
            if raw.phase != Phase::Clear {
                self.onsets.insert(id, onset.clone());
            }
            let finding = Finding {
                phase: raw.phase,
                direction: raw.direction,
                score: raw.score,
                severity: raw.severity,
                observed: frame.values.get(index).copied(),
                expected: raw.expected,
                ..self.clear(of, labels, onset, at, raw.reason)
            };
            found.push(SeriesFinding {
                series: id,
                target: target.clone(),
                finding,
            });
        }
        found
    }

    /// Ends the ongoing anomalies of the series that the frame closes.
    pub(super) fn end_closed(&mut self, of: SignalView<'_>, frame: &Frame) -> Vec<SeriesFinding> {
        self.end_series(of, &frame.closed, frame.now, "the series ended")
    }

    /// Ends all ongoing anomalies, because the detector stops.
    pub(super) fn end_all(
        &mut self,
        of: SignalView<'_>,
        at: UnixMs,
        reason: &str,
    ) -> Vec<SeriesFinding> {
        let mut ids: Vec<u32> = self.onsets.keys().copied().collect();
        ids.sort_unstable();
        self.end_series(of, &ids, at, reason)
    }

    fn end_series(
        &mut self,
        of: SignalView<'_>,
        ids: &[u32],
        at: UnixMs,
        reason: &str,
    ) -> Vec<SeriesFinding> {
        ids.iter()
            .filter_map(|id| self.end(of, *id, at, reason))
            .collect()
    }

    /// Ends the ongoing anomaly of a series without a finding of the detector.
    fn end(
        &mut self,
        of: SignalView<'_>,
        id: u32,
        at: UnixMs,
        reason: &str,
    ) -> Option<SeriesFinding> {
        let onset = self.onsets.remove(&id)?;
        let (target, labels) = of.table.get(id)?;
        Some(SeriesFinding {
            series: id,
            target: target.clone(),
            finding: self.clear(of, labels, onset, at, reason.to_owned()),
        })
    }

    /// Returns the finding that an anomaly is over.
    fn clear(
        &self,
        of: SignalView<'_>,
        labels: &Labels,
        onset: Onset,
        at: UnixMs,
        reason: String,
    ) -> Finding {
        Finding {
            id: onset.finding,
            signal: of.signal.to_owned(),
            meaning: of.meaning,
            labels: labels.clone(),
            detector: self.handle.name().to_owned(),
            detector_digest: self.handle.digest().to_owned(),
            onset_at: onset.at,
            at,
            phase: Phase::Clear,
            direction: Direction::Shape,
            score: 0.0,
            severity: 0.0,
            observed: None,
            expected: None,
            reason,
        }
    }

    fn finding_id(
        &self,
        signal: &str,
        target: &Target,
        labels: &Labels,
        onset: UnixMs,
    ) -> FindingId {
        FindingId::derive(&[
            signal,
            &target.key(),
            &labels.to_string(),
            self.handle.digest(),
            &onset.to_string(),
        ])
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
async fn replay(handle: &DetectorHandle, past: &Arc<Frame>) -> Result<Verdict, PluginError> {
    match past.opened.is_empty() && past.is_empty() {
        true => Ok(Verdict::default()),
        false => handle.observe(Arc::clone(past), false).await,
    }
}
