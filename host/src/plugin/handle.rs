//! What the rest of the host holds of an open instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::action::{Action, ActionIncident, ActionOutcome, ActionStep, Run};
use super::detector::{Detector, Frame, Verdict};
use super::error::PluginError;
use super::examine::{MIN_SAMPLES, whole};
use super::memory::{MOST_SAVED, Saved};
use super::watch::Watch;
use super::worker::{Instances, Lease, Worker};
use crate::domain::UnixMs;

/// What one answer to `save` may hold at most, plus one series: the rest is for the next call.
const SAVED_AT_ONCE: usize = 8 * MOST_SAVED;

/// A detector that watches the series of one signal in one partition. Dropping it closes it.
pub struct DetectorHandle {
    plugin: Arc<Detector>,
    lease: Lease,
    min_samples: Option<u32>,
}

impl DetectorHandle {
    pub(super) async fn open(
        workers: &[Arc<Worker>],
        plugin: Arc<Detector>,
        settings: &Value,
    ) -> Result<Self, PluginError> {
        let lease = Lease::take(workers)?;
        let min_samples = whole(&settings[MIN_SAMPLES]).or(plugin.min_samples);
        let (opening, settings) = (plugin.clone(), settings.to_string());
        lease
            .ask(&plugin.name, move |instances, id| {
                let watch = Watch::open(opening, settings)?;
                instances.watches.insert(id, watch);
                Ok(())
            })
            .await?;
        Ok(Self {
            plugin,
            lease,
            min_samples,
        })
    }

    /// What the detector calls itself.
    pub fn name(&self) -> &str {
        &self.plugin.name
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.plugin.version
    }

    /// SHA-256 of its bytes, in hex.
    pub fn digest(&self) -> &str {
        &self.plugin.digest
    }

    /// How much past it wants to see before its findings count, in milliseconds.
    pub fn history_ms(&self) -> u64 {
        self.plugin.history_ms
    }

    /// How many samples of a series it wants before it says anything of it: its setting
    /// `min_samples`, or the default of that by its schema. None if it has no such setting.
    pub fn min_samples(&self) -> Option<u32> {
        self.min_samples
    }

    /// Shows it a frame (by value, or shared so that it can be shown again). Frames of one handle
    /// are seen in the order of the calls. If the future is dropped, the frame may have been seen
    /// or not.
    ///
    /// After an error for which [`PluginError::lost_instance`] holds, every call answers
    /// [`PluginError::Lost`] until [`DetectorHandle::reopen`] succeeds.
    pub async fn observe(
        &self,
        frame: impl Into<Arc<Frame>>,
        want_scores: bool,
    ) -> Result<Verdict, PluginError> {
        let frame = frame.into();
        self.with(move |watch| watch.observe(Instant::now(), &frame, want_scores))
            .await
    }

    /// Whether what it knows can be saved and restored.
    pub fn is_stateful(&self) -> bool {
        self.plugin.pre.is_stateful()
    }

    /// Saves what it knows of these series (`None`: of what its series share), in that order: of
    /// the first one at least, of as many as there is time for within the deadline of one call and
    /// room for in one answer. Each answers by itself: what was saved, None if it keeps nothing of
    /// that, or what the guest called an error.
    ///
    /// # Errors
    /// The instance was lost, or is not there.
    pub async fn save(
        &self,
        of: Vec<Option<u32>>,
    ) -> Result<Vec<Result<Option<Vec<u8>>, PluginError>>, PluginError> {
        let deadline = self.plugin.ground.limits.call_deadline;
        self.with(move |watch| {
            let (began, mut bytes, mut all) = (Instant::now(), 0, Vec::with_capacity(of.len()));
            for of in of {
                let saved = watch.save(Instant::now(), of);
                match &saved {
                    Err(error) if error.lost_instance() => return Err(error.clone()),
                    Err(_) | Ok(None) => {}
                    Ok(Some(saved)) => bytes += saved.len(),
                }
                all.push(saved);
                if bytes > SAVED_AT_ONCE || began.elapsed() > deadline {
                    break;
                }
            }
            Ok(all)
        })
        .await
    }

    /// Opens series with what was saved of them, in that order. Each answers by itself; one that
    /// was refused is not open, and wants to be announced by a frame.
    ///
    /// # Errors
    /// The instance was lost, or is not there.
    pub async fn restore(
        &self,
        mut saved: Vec<Saved>,
    ) -> Result<Vec<Result<(), PluginError>>, PluginError> {
        let deadline = self.plugin.ground.limits.call_deadline;
        let mut answers = Vec::with_capacity(saved.len());
        while !saved.is_empty() {
            let (some, rest) = self
                .with(move |watch| restore_some(watch, saved, deadline))
                .await?;
            answers.extend(some);
            saved = rest;
        }
        Ok(answers)
    }

    /// Opens it again with nothing in its memory: announce the series again, feed it the past, and
    /// go on. The first time in a row at once, then only after a wait that doubles
    /// ([`PluginError::BackingOff`]); after five faults without a verdict between them it answers
    /// [`PluginError::Quarantined`] for good.
    pub async fn reopen(&self) -> Result<(), PluginError> {
        self.with(|watch| watch.reopen(Instant::now())).await
    }

    async fn with<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Watch) -> Result<R, PluginError> + Send + 'static,
    ) -> Result<R, PluginError> {
        let name = self.plugin.name.clone();
        let call = move |instances: &mut Instances, id| {
            call(
                instances
                    .watches
                    .get_mut(&id)
                    .ok_or_else(|| PluginError::Lost(name.to_string()))?,
            )
        };
        self.lease.ask(&self.plugin.name, call).await
    }
}

type Restored = (Vec<Result<(), PluginError>>, Vec<Saved>);

/// The first one at least, and as many as there is time for, so that other instances of the thread
/// get their turn. With the answers comes what is left.
fn restore_some(
    watch: &mut Watch,
    mut saved: Vec<Saved>,
    deadline: Duration,
) -> Result<Restored, PluginError> {
    let began = Instant::now();
    let mut answers = Vec::new();
    while let Some(next) = saved.get(answers.len()) {
        match watch.restore(Instant::now(), next) {
            Err(error) if error.lost_instance() => return Err(error),
            answer => answers.push(answer),
        }
        if began.elapsed() > deadline {
            break;
        }
    }
    let rest = saved.split_off(answers.len());
    Ok((answers, rest))
}

/// One run of an action. Dropping it closes it.
pub struct ActionRun {
    plugin: Arc<Action>,
    lease: Lease,
}

impl ActionRun {
    pub(super) async fn open(
        workers: &[Arc<Worker>],
        plugin: Arc<Action>,
        incident: ActionIncident,
        parameters: &Value,
    ) -> Result<Self, PluginError> {
        let lease = Lease::take(workers)?;
        let (opening, parameters) = (plugin.clone(), parameters.clone());
        lease
            .ask(&plugin.name, move |instances, id| {
                let run = Run::open(opening, &incident, &parameters)?;
                instances.runs.insert(id, run);
                Ok(())
            })
            .await?;
        Ok(Self { plugin, lease })
    }

    /// What the action calls itself.
    pub fn name(&self) -> &str {
        &self.plugin.name
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.plugin.version
    }

    /// SHA-256 of its bytes, in hex.
    pub fn digest(&self) -> &str {
        &self.plugin.digest
    }

    /// Tells it what came of its last step, and returns the next. Once the instance is lost, every
    /// call answers [`PluginError::Lost`]; open another run and tell it the recorded outcomes.
    pub async fn next(&self, now: UnixMs, last: ActionOutcome) -> Result<ActionStep, PluginError> {
        let name = self.plugin.name.clone();
        self.lease
            .ask(&self.plugin.name, move |instances, id| {
                let run = instances
                    .runs
                    .get_mut(&id)
                    .ok_or_else(|| PluginError::Lost(name.to_string()))?;
                run.next(now, &last)
            })
            .await
    }
}
