//! The detectors of one signal. A quarantined detector is taken out, and a detector of the fallback
//! list replaces it until its plugin gets another chance.

use std::sync::Arc;

use super::context::{DetectContext, SignalView};
use super::detector::{SeriesFinding, SignalDetector};
use anomalyzer_domain::{DetectorConfig, UnixMs};
use anomalyzer_plugin_host::{Frame, PluginError, Plugins};

const TAKEN_OUT: &str = "its detector is quarantined";
const NO_LONGER_NEEDED: &str = "the detector that it stood in for is back";

/// A detector that failed.
pub(super) struct DetectorFailure {
    pub(super) detector: String,
    pub(super) source: PluginError,
}

/// The outcome of a frame.
#[derive(Default)]
pub(super) struct Evaluation {
    pub(super) findings: Vec<SeriesFinding>,
    /// The last detector that failed. If this is set, part of the detectors has not seen the frame.
    pub(super) failed: Option<DetectorFailure>,
}

/// A detector that was taken out.
struct Quarantined {
    config: DetectorConfig,
    error: PluginError,
    /// True if it replaced another detector itself.
    was_stand_in: bool,
    /// Number of chances that the plugin had had by then.
    chances: u64,
}

impl Quarantined {
    fn new(
        plugins: &Plugins,
        config: &DetectorConfig,
        was_stand_in: bool,
        error: PluginError,
    ) -> Self {
        Self {
            config: config.clone(),
            error,
            was_stand_in,
            chances: plugins.chances(&config.name),
        }
    }
}

/// The detectors of a signal, and those that were taken out.
#[derive(Default)]
pub(super) struct DetectorSet {
    pub(super) active: Vec<SignalDetector>,
    quarantined: Vec<Quarantined>,
    /// The last problem with one of them.
    pub(super) problem: Option<String>,
}

impl DetectorSet {
    /// Opens the configured detectors. A stand-in replaces those that are quarantined.
    ///
    /// # Errors
    /// A detector does not open for another reason than a quarantine.
    pub(super) async fn open(
        signal: &str,
        configs: &[DetectorConfig],
        context: &DetectContext,
    ) -> Result<Self, DetectorFailure> {
        let mut set = Self::default();
        for config in configs {
            match SignalDetector::open(&context.plugins, config).await {
                Ok(detector) => set.active.push(detector),
                Err(error) if error.is_quarantine() => {
                    let quarantined = Quarantined::new(&context.plugins, config, false, error);
                    set.quarantined.push(quarantined);
                }
                Err(source) => {
                    let detector = config.name.clone();
                    return Err(DetectorFailure { detector, source });
                }
            }
        }
        set.open_stand_in(signal, context, false).await;
        Ok(set)
    }

    /// Evaluates a frame with every detector. A detector that fails does not keep the frame from
    /// the others. A quarantined detector is taken out.
    pub(super) async fn evaluate(
        &mut self,
        of: SignalView<'_>,
        frame: &Arc<Frame>,
        context: &DetectContext,
    ) -> Evaluation {
        let mut evaluation = Evaluation::default();
        let mut quarantined = Vec::new();
        for (index, detector) in self.active.iter_mut().enumerate() {
            match detector.evaluate(of, frame, context.store.as_ref()).await {
                Ok(findings) => evaluation.findings.extend(findings),
                Err(error) if error.is_quarantine() => quarantined.push((index, error)),
                Err(source) => {
                    self.problem = Some(source.to_string());
                    let detector = detector.config.name.clone();
                    evaluation.failed = Some(DetectorFailure { detector, source });
                }
            }
        }
        evaluation.findings.extend(self.end_closed(of, frame));
        if !quarantined.is_empty() {
            let replaced = self.replace(of, quarantined, frame, context);
            evaluation.findings.extend(replaced.await);
        }
        if self.active.is_empty() {
            // No detector has seen the frame.
            let last = self.quarantined.last();
            evaluation.failed = last.map(|quarantined| DetectorFailure {
                detector: quarantined.config.name.clone(),
                source: quarantined.error.clone(),
            });
        }
        evaluation
    }

    /// Ends the ongoing anomalies of the series that the frame closes.
    pub(super) fn end_closed(&mut self, of: SignalView<'_>, frame: &Frame) -> Vec<SeriesFinding> {
        self.active
            .iter_mut()
            .flat_map(|detector| detector.end_closed(of, frame))
            .collect()
    }

    /// Takes quarantined detectors out, the last one first, and lets a stand-in evaluate this
    /// frame. Returns the ends of their anomalies, and the findings of the stand-in.
    async fn replace(
        &mut self,
        of: SignalView<'_>,
        quarantined: Vec<(usize, PluginError)>,
        frame: &Arc<Frame>,
        context: &DetectContext,
    ) -> Vec<SeriesFinding> {
        let mut found = Vec::new();
        for (index, error) in quarantined.into_iter().rev() {
            let mut detector = self.active.remove(index);
            let plugin = &detector.config.name;
            tracing::error!(plugin, %error, "taking out a quarantined detector");
            found.extend(detector.end_all(of, frame.now, TAKEN_OUT));
            self.quarantined.push(Quarantined::new(
                &context.plugins,
                &detector.config,
                detector.is_stand_in,
                error,
            ));
        }
        if self.open_stand_in(of.signal, context, true).await
            && let Some(detector) = self.active.last_mut()
        {
            match detector.evaluate(of, frame, context.store.as_ref()).await {
                Ok(findings) => found.extend(findings),
                Err(error) => self.problem = Some(error.to_string()),
            }
        }
        found
    }

    /// Opens a stand-in, if a detector is quarantined and no stand-in is active. With `replay` its
    /// first frame comes with the samples at hand. Returns true if a stand-in was opened.
    async fn open_stand_in(&mut self, signal: &str, context: &DetectContext, replay: bool) -> bool {
        let has_stand_in = self.active.iter().any(|detector| detector.is_stand_in);
        if self.quarantined.is_empty() || has_stand_in {
            return false;
        }
        for config in &context.fallback {
            let is_active = self
                .active
                .iter()
                .any(|detector| detector.config.name == config.name);
            let is_quarantined = self
                .quarantined
                .iter()
                .any(|quarantined| quarantined.config.name == config.name);
            if is_active || is_quarantined {
                continue;
            }
            match SignalDetector::open(&context.plugins, config).await {
                Ok(mut detector) => {
                    detector.is_stand_in = true;
                    detector.must_reopen = replay;
                    let plugin = &config.name;
                    tracing::warn!(signal, plugin, "a detector replaces a quarantined one");
                    self.active.push(detector);
                    return true;
                }
                Err(error) => self.problem = Some(error.to_string()),
            }
        }
        false
    }

    /// Follows the changes of the plugins: lets detectors with another chance back in, and swaps
    /// detectors for the live versions of their plugins. If a new version does not open, the old
    /// one stays.
    pub(super) async fn follow(
        &mut self,
        of: SignalView<'_>,
        now: UnixMs,
        context: &DetectContext,
    ) -> Vec<SeriesFinding> {
        let mut found = self.let_back(of, now, context).await;
        for detector in &mut self.active {
            let live = context.plugins.detector_digest(&detector.config.name);
            if live.as_deref().is_none_or(|live| live == detector.digest()) {
                continue;
            }
            match detector.swap(of, now, context).await {
                Ok(findings) => found.extend(findings),
                Err(error) => {
                    let plugin = &detector.config.name;
                    tracing::error!(signal = of.signal, plugin, %error, "a new version does not open");
                    self.problem = Some(format!("a new version does not open: {error}"));
                }
            }
        }
        found
    }

    /// Opens the detectors again whose plugins got another chance. The stand-in goes when all are
    /// back. Returns the ends of its anomalies.
    async fn let_back(
        &mut self,
        of: SignalView<'_>,
        now: UnixMs,
        context: &DetectContext,
    ) -> Vec<SeriesFinding> {
        for mut quarantined in std::mem::take(&mut self.quarantined) {
            let chances = context.plugins.chances(&quarantined.config.name);
            if chances == quarantined.chances {
                self.quarantined.push(quarantined);
                continue;
            }
            if quarantined.was_stand_in {
                continue;
            }
            match SignalDetector::open(&context.plugins, &quarantined.config).await {
                Ok(mut detector) => {
                    detector.must_reopen = true;
                    let plugin = &quarantined.config.name;
                    tracing::info!(signal = of.signal, plugin, "a detector is let back in");
                    self.active.push(detector);
                }
                Err(error) => {
                    (quarantined.error, quarantined.chances) = (error, chances);
                    self.quarantined.push(quarantined);
                }
            }
        }
        if self.quarantined.iter().any(|one| !one.was_stand_in) {
            self.open_stand_in(of.signal, context, true).await;
            return vec![];
        }
        self.quarantined.clear();
        let stand_ins = self.active.extract_if(.., |detector| detector.is_stand_in);
        stand_ins
            .flat_map(|mut detector| detector.end_all(of, now, NO_LONGER_NEEDED))
            .collect()
    }

    /// Describes each quarantined detector and its stand-in for the status.
    pub(super) fn describe_quarantined(&self) -> Vec<String> {
        let stand_in = self
            .active
            .iter()
            .find(|detector| detector.is_stand_in)
            .or_else(|| self.active.first());
        let instead = stand_in.map_or_else(
            || "nothing watches in its place".to_owned(),
            |detector| format!("{} watches in its place", detector.config.name),
        );
        self.quarantined
            .iter()
            .map(|quarantined| format!("{}; {instead}", quarantined.error))
            .collect()
    }
}
