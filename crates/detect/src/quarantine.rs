//! A detector that is quarantined is taken out, and one of those that watch what nobody configured
//! watches in its place, until it gets another chance.

use std::sync::Arc;

use super::detector::{Detector, Named, Subject};
use super::watched::{Means, Watched};
use anomalyzer_collect::DetectorConfig;
use anomalyzer_plugin_host::{Frame, PluginError, Plugins};

const TAKEN_OUT: &str = "its detector is quarantined";
const NO_LONGER_NEEDED: &str = "the detector that it stood in for is back";

/// A detector that was taken out.
pub(super) struct Quarantined {
    pub(super) config: DetectorConfig,
    pub(super) error: PluginError,
    /// Whether it stood in for another one itself.
    stands_in: bool,
    /// How many chances its plugin had had by then.
    chances: u64,
}

impl Quarantined {
    pub(super) fn new(
        plugins: &Plugins,
        config: &DetectorConfig,
        stands_in: bool,
        error: PluginError,
    ) -> Self {
        Self {
            config: config.clone(),
            error,
            stands_in,
            chances: plugins.chances(&config.name),
        }
    }
}

impl Watched {
    /// Takes detectors out, the last ones first, and lets another one watch in their place, from
    /// this frame on. Answers what went on for them and is over, and what the other one found.
    pub(super) async fn take_out(
        &mut self,
        signal: &str,
        out: Vec<(usize, PluginError)>,
        frame: &Arc<Frame>,
        means: Means<'_>,
    ) -> Vec<Named> {
        let mut found = Vec::new();
        for (index, error) in out.into_iter().rev() {
            let mut detector = self.detectors.remove(index);
            tracing::error!(signal, detector = detector.config.name, %error, "a detector is taken out");
            found.extend(detector.end_everything(self.subject(signal), frame.now, TAKEN_OUT));
            self.quarantined.push(Quarantined::new(
                means.plugins,
                &detector.config,
                detector.stands_in,
                error,
            ));
        }
        if self.stand_in(signal, means, true).await
            && let Some(detector) = self.detectors.last_mut()
        {
            let of = Subject {
                signal,
                meaning: self.meaning,
                table: &self.table,
            };
            match detector.look(of, frame, means.memory).await {
                Ok(named) => found.extend(named),
                Err(error) => self.status.problem = Some(error.to_string()),
            }
        }
        found
    }

    /// Opens one that watches in place of those that were taken out, if there is none yet. One that
    /// begins `anew` is told the past that is at hand with its first frame. Whether one was opened.
    pub(super) async fn stand_in(&mut self, signal: &str, means: Means<'_>, anew: bool) -> bool {
        if self.quarantined.is_empty() || self.detectors.iter().any(|detector| detector.stands_in) {
            return false;
        }
        for config in means.fallback {
            let watches = self
                .detectors
                .iter()
                .any(|detector| detector.config.name == config.name);
            if watches
                || self
                    .quarantined
                    .iter()
                    .any(|out| out.config.name == config.name)
            {
                continue;
            }
            match Detector::open(means.plugins, config).await {
                Ok(mut detector) => {
                    (detector.stands_in, detector.anew) = (true, anew);
                    tracing::warn!(
                        signal,
                        detector = config.name,
                        "watches in place of one that is quarantined"
                    );
                    self.detectors.push(detector);
                    return true;
                }
                Err(error) => self.status.problem = Some(error.to_string()),
            }
        }
        false
    }

    /// Lets those back in that got another chance since. Answers what went on for the one in their
    /// place, which goes when all are back.
    pub(super) async fn let_back(&mut self, signal: &str, means: Means<'_>) -> Vec<Named> {
        for mut out in std::mem::take(&mut self.quarantined) {
            let chances = means.plugins.chances(&out.config.name);
            if chances == out.chances {
                self.quarantined.push(out);
                continue;
            }
            if out.stands_in {
                continue;
            }
            match Detector::open(means.plugins, &out.config).await {
                Ok(mut detector) => {
                    detector.anew = true;
                    tracing::info!(signal, detector = out.config.name, "is let back in");
                    self.detectors.push(detector);
                }
                Err(error) => {
                    (out.error, out.chances) = (error, chances);
                    self.quarantined.push(out);
                }
            }
        }
        if self.quarantined.iter().any(|out| !out.stands_in) {
            self.stand_in(signal, means, true).await;
            return vec![];
        }
        self.quarantined.clear();
        let all = std::mem::take(&mut self.detectors);
        let (gone, stay): (Vec<Detector>, Vec<Detector>) =
            all.into_iter().partition(|detector| detector.stands_in);
        self.detectors = stay;
        let (of, now) = (self.subject(signal), self.heard_at);
        let over = |mut detector: Detector| detector.end_everything(of, now, NO_LONGER_NEEDED);
        gone.into_iter().flat_map(over).collect()
    }

    /// What is quarantined and what watches in its place, in words.
    pub(super) fn in_quarantine(&self) -> Vec<String> {
        let stand_in = self
            .detectors
            .iter()
            .find(|detector| detector.stands_in)
            .or_else(|| self.detectors.first());
        let instead = stand_in.map_or_else(
            || "nothing watches in its place".to_owned(),
            |detector| format!("{} watches in its place", detector.config.name),
        );
        self.quarantined
            .iter()
            .map(|out| format!("{}; {instead}", out.error))
            .collect()
    }
}
