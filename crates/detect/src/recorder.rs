//! The one place at which detection meets incidents: coverage and findings go in, events come out.

use super::absence::AbsenceDetector;
use super::batch::Message;
use super::correlator::{IncidentCorrelator, SampleOrigin};
use super::detector::SeriesFinding;
use super::feedback::{Feedback, strength};
use super::signal_state::SignalState;
use anomalyzer_common::pause_watch::Pause;
use anomalyzer_domain::{Finding, IncidentEvent, Phase, ReplayContext, Series, Target, UnixMs};

/// Turns coverage and findings into the events of incidents.
pub(super) struct IncidentRecorder {
    pub(super) correlator: IncidentCorrelator,
    pub(super) absence: AbsenceDetector,
    pub(super) feedback: Option<Feedback>,
    /// The events that are not published yet.
    events: Vec<IncidentEvent>,
}

impl IncidentRecorder {
    pub(super) fn new(correlator: IncidentCorrelator, absence: AbsenceDetector) -> Self {
        Self {
            correlator,
            absence,
            feedback: None,
            events: Vec::new(),
        }
    }

    /// Records the coverage in the messages of a signal, and reports sources that stopped answering
    /// or answer again.
    pub(super) fn update_coverage(&mut self, signal: &str, messages: &[&Message<'_>]) {
        for message in messages {
            let (target, at) = (&message.target, message.observed_at);
            let coverage = message.origin.coverage;
            self.correlator
                .update_coverage(target, signal, at, coverage);
            for incident in self.correlator.take_adopted() {
                self.absence.restore(&incident);
            }
            if let Some(finding) = self.absence.observe(signal, target, at, coverage) {
                let no_samples = Series {
                    labels: finding.labels.clone(),
                    samples: vec![],
                };
                self.record(target, finding, no_samples, message.origin);
            }
        }
    }

    /// Keeps the findings that reach the thresholds which feedback set, and logs the others.
    pub(super) fn above_threshold(&self, mut found: Vec<SeriesFinding>) -> Vec<SeriesFinding> {
        if let Some(feedback) = &self.feedback {
            found.retain(|found| self.is_above_threshold(feedback, &found.target, &found.finding));
        }
        found
    }

    /// Returns true if a finding reaches the threshold of its series, or continues or ends a
    /// reported one.
    fn is_above_threshold(&self, feedback: &Feedback, target: &Target, finding: &Finding) -> bool {
        let Finding {
            signal,
            labels,
            detector,
            score,
            ..
        } = finding;
        let threshold = feedback.threshold(signal, target, labels, detector);
        let is_reported = finding.phase == Phase::Clear
            || strength(finding) >= threshold
            || self.correlator.is_active(target, finding);
        if !is_reported {
            tracing::info!(
                signal, %target, plugin = detector, score, threshold,
                "holding back a finding below the threshold that feedback set"
            );
        }
        is_reported
    }

    /// Records a finding. `samples` are the samples around it.
    pub(super) fn record(
        &mut self,
        target: &Target,
        finding: Finding,
        samples: Series,
        origin: SampleOrigin,
    ) {
        let event = self.correlator.record(target, finding, samples, origin);
        self.events.extend(event);
    }

    /// Adds the contexts with which findings can be evaluated again, and confirms the findings of a
    /// previous engine that a detector of the signal knows.
    pub(super) fn confirm(
        &mut self,
        signal: &str,
        state: &SignalState,
        contexts: Vec<(Target, ReplayContext)>,
    ) {
        for (target, context) in contexts {
            self.correlator.add_replay_context(&target, context);
        }
        for detector in &state.detectors.active {
            for (target, finding) in self.correlator.inherited(signal, &detector.config.name) {
                let series = state.table.id(&target, &finding.labels);
                if series.is_some_and(|series| detector.has_onset(series)) {
                    self.correlator.reaffirm(&target, &finding);
                }
            }
        }
    }

    /// Excuses a pause of this process or of the collector.
    pub(super) fn excuse(&mut self, pause: Pause) {
        self.absence.excuse(pause);
        self.correlator.excuse(pause);
    }

    /// Lets time pass until `now`: incidents are confirmed and closed.
    pub(super) fn advance(&mut self, now: UnixMs) {
        self.events.extend(self.correlator.advance(now));
    }

    /// Returns the events that are not published yet, and forgets them.
    pub(super) fn take_events(&mut self) -> Vec<IncidentEvent> {
        std::mem::take(&mut self.events)
    }

    /// Notes that an event was published.
    pub(super) fn note_published(&self, event: &IncidentEvent) {
        self.correlator.note_published(event);
    }
}
