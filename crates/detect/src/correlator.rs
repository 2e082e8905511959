//! Groups findings into incidents, with at most one open incident per target.

mod config;
mod open_incident;

use std::collections::HashMap;
use std::time::Duration;

pub use self::config::IncidentConfig;
use self::open_incident::{FindingKey, MAX_REPLAY_CONTEXTS, OpenIncident, event, newest};
use super::incident_log::IncidentLog;
use super::pauses::ExcusedTime;
use anomalyzer_common::pause_watch::Pause;
use anomalyzer_domain::{
    Coverage, Finding, Incident, IncidentEvent, IncidentEventKind, IncidentId, IncidentView, Phase,
    ReplayContext, Series, Target, UnixMs,
};

/// The source of the samples behind a finding.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SampleOrigin {
    pub(super) coverage: Coverage,
    /// True if another producer published the samples.
    pub(super) foreign: bool,
}

/// The open incidents of one engine.
pub struct IncidentCorrelator {
    config: IncidentConfig,
    /// Times until the confirmation of the signals that have one of their own.
    confirm_after: HashMap<String, Duration>,
    open: HashMap<Target, OpenIncident>,
    log: IncidentLog,
    /// The incidents taken over since the last call of [`Self::take_adopted`].
    adopted: Vec<Incident>,
    /// True if an incident may have inherited findings.
    inherits: bool,
    /// The excused pauses.
    time: ExcusedTime,
}

impl IncidentCorrelator {
    /// Continues with the incidents in `log`. It takes over each one when the first message about
    /// its target arrives, because another engine may receive these messages.
    pub fn new(config: IncidentConfig, log: IncidentLog) -> Self {
        Self {
            config,
            confirm_after: HashMap::new(),
            open: HashMap::new(),
            log,
            adopted: vec![],
            inherits: false,
            time: ExcusedTime::default(),
        }
    }

    /// Sets the times until the confirmation of signals that have one of their own.
    #[must_use]
    pub(super) fn with_signal_times(mut self, times: HashMap<String, Duration>) -> Self {
        self.confirm_after = times;
        self
    }

    /// Takes over all incidents in the log at once. This is right if no other engine runs.
    pub fn adopt_all(&mut self) {
        for view in self.log.open() {
            self.adopt(view, None);
        }
    }

    fn adopt(&mut self, view: IncidentView, at: Option<UnixMs>) {
        let (incident, target) = (&view.incident, &view.incident.target);
        tracing::info!(incident.id = %incident.id, %target, "taking over an open incident");
        self.adopted.push(incident.clone());
        self.inherits = true;
        self.open
            .insert(target.clone(), OpenIncident::inherit(view, at));
    }

    /// Returns the incidents that were taken over since the last call, as they were then.
    pub(super) fn take_adopted(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.adopted)
    }

    /// Drops the incident of a target if another engine continued with it, and takes over the
    /// incident that another engine left.
    fn sync_with_log(&mut self, target: &Target, at: UnixMs) {
        if let Some(open) = self.open.get(target) {
            if !self.log.went_on(&open.incident) {
                return;
            }
            self.open.remove(target);
        }
        if let Some(view) = self.log.on(target) {
            self.adopt(view, Some(at));
        }
    }

    /// Notes a published event in the log.
    pub(super) fn note_published(&self, event: &IncidentEvent) {
        self.log.take(event);
    }

    /// Returns the findings of `detector` on `signal` that are still those of a previous engine.
    pub(super) fn inherited(&self, signal: &str, detector: &str) -> Vec<(Target, Finding)> {
        if !self.inherits {
            return vec![];
        }
        let mut found = Vec::new();
        for (target, open) in self
            .open
            .iter()
            .filter(|(_, open)| !open.inherited.is_empty())
        {
            let inherited = open.incident.findings.iter().filter(|finding| {
                finding.signal == signal
                    && finding.detector == detector
                    && open.inherited.contains(&FindingKey::of(finding))
            });
            found.extend(inherited.map(|finding| (target.clone(), finding.clone())));
        }
        found
    }

    /// Confirms a finding of a previous engine: a detector knows it and will report its end.
    pub(super) fn reaffirm(&mut self, target: &Target, finding: &Finding) {
        if let Some(open) = self.open.get_mut(target) {
            open.inherited.remove(&FindingKey::of(finding));
        }
    }

    /// Returns true if the incident of `target` has an active finding of the same detector on the
    /// same series.
    pub(super) fn is_active(&self, target: &Target, finding: &Finding) -> bool {
        self.open
            .get(target)
            .is_some_and(|open| open.is_active(finding))
    }

    /// Returns the number of open incidents.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Returns true if no incident is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Sets the coverage of a signal on a target at time `at`.
    pub(super) fn update_coverage(
        &mut self,
        target: &Target,
        signal: &str,
        at: UnixMs,
        coverage: Coverage,
    ) {
        self.sync_with_log(target, at);
        if let Some(open) = self.open.get_mut(target) {
            open.set_coverage(signal, coverage);
        }
    }

    /// Adds a finding to the incident of its target, or opens an incident. `samples` are the
    /// samples around the finding.
    pub(super) fn record(
        &mut self,
        target: &Target,
        finding: Finding,
        samples: Series,
        origin: SampleOrigin,
    ) -> Option<IncidentEvent> {
        let now = finding.at;
        if !self.open.contains_key(target) {
            self.sync_with_log(target, now);
        }
        if let Some(open) = self.open.get_mut(target) {
            open.set_coverage(&finding.signal, origin.coverage);
            return open
                .record(finding, samples)
                .then(|| event(IncidentEventKind::Changed, now, &open.incident));
        }
        if finding.phase == Phase::Clear {
            return None;
        }
        let coverage = HashMap::from([(finding.signal.clone(), origin.coverage)]);
        let incident = Incident {
            id: IncidentId::derive(&[&target.key(), finding.id.as_str()]),
            target: target.clone(),
            opened_at: finding.onset_at,
            changed_at: now,
            cleared_at: None,
            coverage: origin.coverage,
            samples: vec![newest(samples)],
            foreign: origin.foreign,
            findings: vec![finding],
        };
        let event = event(IncidentEventKind::Opened, now, &incident);
        self.open
            .insert(target.clone(), OpenIncident::new(incident, coverage));
        Some(event)
    }

    /// Adds the context of one of the incident's findings, with which it can be evaluated again.
    pub(super) fn add_replay_context(&mut self, target: &Target, context: ReplayContext) {
        let Some(open) = self.open.get_mut(target) else {
            return;
        };
        let belongs = open
            .incident
            .findings
            .iter()
            .any(|finding| finding.id == context.finding.id);
        if belongs && open.replay_contexts.len() < MAX_REPLAY_CONTEXTS {
            open.replay_contexts.push(context);
        }
    }

    /// Excuses a pause of this process or of the collector: nothing is confirmed and nothing is
    /// over because of it.
    pub(super) fn excuse(&mut self, pause: Pause) {
        self.time.excuse(pause);
    }

    /// Moves starting times after `latest`, from a clock that was ahead, back to it.
    pub(super) fn bound(&mut self, latest: UnixMs) {
        self.open.values_mut().for_each(|open| open.bound(latest));
    }

    /// Returns the confirmations and all-clears that are due at `now`, in the order of the targets.
    pub(super) fn advance(&mut self, now: UnixMs) -> Vec<IncidentEvent> {
        let mut targets: Vec<Target> = self.open.keys().cloned().collect();
        targets.sort();
        let mut events = Vec::new();
        self.inherits = false;
        for target in targets {
            let Some(open) = self.open.get_mut(&target) else {
                continue;
            };
            if self.log.went_on(&open.incident) {
                self.open.remove(&target);
                continue;
            }
            let confirm_after = |finding: &Finding| {
                let own = self.confirm_after.get(&finding.signal).copied();
                time_to_confirm(own.unwrap_or(self.config.confirm_after), finding)
            };
            events.extend(open.advance(now, &self.config, confirm_after, &self.time));
            self.inherits |= !open.inherited.is_empty();
            if !open.incident.is_open() {
                self.open.remove(&target);
            }
        }
        events
    }
}

/// Severity that leaves no doubt: this number of times the threshold.
const NO_DOUBT: f64 = 10.0;

/// Returns the time until the confirmation: half of it at a severity that leaves no doubt.
fn time_to_confirm(confirm_after: Duration, finding: &Finding) -> Duration {
    match finding.severity >= NO_DOUBT {
        true => confirm_after / 2,
        false => confirm_after,
    }
}

#[cfg(test)]
mod tests;
