//! Defines the handles by which the rest of the host uses open instances.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::action::{Action, ActionIncident, ActionOutcome, ActionStep, Run};
use super::call::Instances;
use super::detector::{Detector, Frame, FrameVerdict};
use super::error::PluginError;
use super::inspect::{MIN_SAMPLES, whole};
use super::state::{MOST_SAVED, Saved};
use super::supervised::SupervisedDetector;
use super::worker::{Lease, Worker};
use anomalyzer_domain::UnixMs;

/// Maximum size of one answer to `save`, in bytes, plus one series. The next call saves the rest.
const SAVED_AT_ONCE: usize = 8 * MOST_SAVED;

/// Detector that watches the series of one signal in one partition. Dropping the handle closes the
/// detector.
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
                let watch = SupervisedDetector::open(opening, settings)?;
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

    /// Returns the name that the detector declares.
    pub fn name(&self) -> &str {
        &self.plugin.name
    }

    /// Returns the version of the detector.
    pub fn version(&self) -> &str {
        &self.plugin.version
    }

    /// Returns the SHA-256 of the detector's bytes, in hex.
    pub fn digest(&self) -> &str {
        &self.plugin.digest
    }

    /// Returns the history that the detector wants to see before its findings count, in
    /// milliseconds.
    pub fn history_ms(&self) -> u64 {
        self.plugin.history_ms
    }

    /// Returns the minimum number of samples of a series before the detector reports on that
    /// series. This is its setting `min_samples`, or the default in its schema. Returns None if the
    /// detector has neither.
    pub fn min_samples(&self) -> Option<u32> {
        self.min_samples
    }

    /// Shows the detector a frame, by value or shared so that it can be shown again. The detector
    /// sees the frames of one handle in the order of the calls. If the future is dropped, the
    /// detector may or may not have seen the frame.
    ///
    /// After an error for which [`PluginError::lost_instance`] returns true, every call returns
    /// [`PluginError::Lost`] until [`DetectorHandle::reopen`] succeeds.
    pub async fn observe(
        &self,
        frame: impl Into<Arc<Frame>>,
        want_scores: bool,
    ) -> Result<FrameVerdict, PluginError> {
        let frame = frame.into();
        self.with(move |watch| watch.observe(Instant::now(), &frame, want_scores))
            .await
    }

    /// Returns true if the detector's state can be saved and restored.
    pub fn is_stateful(&self) -> bool {
        self.plugin.pre.is_stateful()
    }

    /// Saves the state of the series `of`, in that order. `None` stands for the state that the
    /// series share. Saves at least the first one. Stops early when the deadline of one call has
    /// passed or one answer is full. Returns one result for each: the saved state, None if the
    /// detector keeps no state of it, or the error that the guest returned.
    ///
    /// # Errors
    /// Returns an error if the instance was lost, or does not exist.
    pub async fn save(
        &self,
        of: Vec<Option<u32>>,
    ) -> Result<Vec<Result<Option<Vec<u8>>, PluginError>>, PluginError> {
        let deadline = self.plugin.runtime.limits.call_deadline;
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

    /// Opens series with their saved state, in that order. Returns one result for each series. A
    /// refused series is not open, and a frame must announce it.
    ///
    /// # Errors
    /// Returns an error if the instance was lost, or does not exist.
    pub async fn restore(
        &self,
        mut saved: Vec<Saved>,
    ) -> Result<Vec<Result<(), PluginError>>, PluginError> {
        let deadline = self.plugin.runtime.limits.call_deadline;
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

    /// Opens the instance again, with empty state. The caller must then announce the series again,
    /// feed them the past, and go on. The first attempt in a row is made at once. Each further
    /// attempt must wait for a backoff that doubles ([`PluginError::BackingOff`]). After five
    /// faults without a verdict between them, every attempt returns [`PluginError::Quarantined`].
    pub async fn reopen(&self) -> Result<(), PluginError> {
        self.with(|watch| watch.reopen(Instant::now())).await
    }

    async fn with<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut SupervisedDetector) -> Result<R, PluginError> + Send + 'static,
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

/// Restores at least the first series, and further series until `deadline` has passed, so that
/// other instances of the thread get their turn. Returns the results and the rest of `saved`.
fn restore_some(
    watch: &mut SupervisedDetector,
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

/// One run of an action. Dropping the handle closes the run.
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

    /// Returns the name that the action declares.
    pub fn name(&self) -> &str {
        &self.plugin.name
    }

    /// Returns the version of the action.
    pub fn version(&self) -> &str {
        &self.plugin.version
    }

    /// Returns the SHA-256 of the action's bytes, in hex.
    pub fn digest(&self) -> &str {
        &self.plugin.digest
    }

    /// Tells the action the outcome of its last step, and returns its next step. Once the instance
    /// is lost, every call returns [`PluginError::Lost`]. The caller can then open another run and
    /// tell it the recorded outcomes.
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
