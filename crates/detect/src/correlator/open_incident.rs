//! One open incident: its findings, its coverage, and the events that are due.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::config::IncidentConfig;
use crate::pauses::ExcusedTime;
use anomalyzer_domain::{
    Coverage, Finding, Incident, IncidentEvent, IncidentEventKind, IncidentView, Labels, Phase,
    ReplayContext, Series, UnixMs, duration, millis,
};

/// Maximum number of findings in one incident. More anomalous series of one target explain nothing
/// more, and the event must stay small enough to publish. Further active findings wait for a place
/// and keep the incident open.
pub(super) const MAX_FINDINGS: usize = 64;
/// Maximum number of findings of one incident that can be evaluated again.
pub(super) const MAX_REPLAY_CONTEXTS: usize = 8;
/// Maximum number of samples per series around the onset.
const MAX_SAMPLES: usize = 64;

/// Identifies a finding within an incident. An incident holds the newest finding of each key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FindingKey {
    signal: String,
    labels: Labels,
    detector: String,
}

impl FindingKey {
    pub(super) fn of(finding: &Finding) -> Self {
        Self {
            signal: finding.signal.clone(),
            labels: finding.labels.clone(),
            detector: finding.detector.clone(),
        }
    }
}

/// Returns true if a detector made both findings on one series.
pub(super) fn have_same_key(a: &Finding, b: &Finding) -> bool {
    (&a.signal, &a.labels, &a.detector) == (&b.signal, &b.labels, &b.detector)
}

pub(super) struct OpenIncident {
    pub(super) incident: Incident,
    confirmed: bool,
    /// Start of the time until confirmation: the opening, or the time at which another series
    /// joined after a confirmation.
    confirm_from: UnixMs,
    quiet_since: Option<UnixMs>,
    coverage: HashMap<String, Coverage>,
    /// The findings of a previous engine that no detector has confirmed since.
    pub(super) inherited: HashSet<FindingKey>,
    /// Start of the time within which the inherited findings must be confirmed.
    inherited_at: Option<UnixMs>,
    /// Active findings beyond [`MAX_FINDINGS`], with their samples. It is empty unless all findings
    /// of the incident are active.
    waiting: BTreeMap<FindingKey, (Finding, Series)>,
    pub(super) replay_contexts: Vec<ReplayContext>,
}

impl OpenIncident {
    pub(super) fn new(incident: Incident, coverage: HashMap<String, Coverage>) -> Self {
        let confirm_from = incident.opened_at;
        Self {
            incident,
            confirmed: false,
            confirm_from,
            quiet_since: None,
            coverage,
            inherited: HashSet::new(),
            inherited_at: None,
            waiting: BTreeMap::new(),
            replay_contexts: vec![],
        }
    }

    /// Takes over an incident of a previous engine at time `at`.
    pub(super) fn inherit(view: IncidentView, at: Option<UnixMs>) -> Self {
        let IncidentView {
            incident,
            confirmed,
            confirm_from,
        } = view;
        let inherited: HashSet<FindingKey> = incident.active().map(FindingKey::of).collect();
        let quiet_since = inherited.is_empty().then_some(incident.changed_at);
        Self {
            confirmed,
            confirm_from,
            quiet_since,
            inherited,
            inherited_at: at,
            ..Self::new(incident, HashMap::new())
        }
    }

    /// Sets the coverage of a signal, and adds up the coverage of all signals.
    pub(super) fn set_coverage(&mut self, signal: &str, coverage: Coverage) {
        self.coverage.insert(signal.to_owned(), coverage);
        self.incident.coverage = total(self.coverage.values());
    }

    /// Adds a finding, or replaces the finding of the same detector on the same series. Returns
    /// false if the findings of the incident stay as they are.
    pub(super) fn record(&mut self, finding: Finding, samples: Series) -> bool {
        let now = finding.at;
        let key = FindingKey::of(&finding);
        let findings = &mut self.incident.findings;
        let known = findings
            .iter()
            .position(|known| have_same_key(known, &finding));
        match known {
            Some(known) => {
                self.inherited.remove(&key);
                findings[known] = finding;
                self.admit_waiting();
            }
            // A series that clears without having joined does not change the incident.
            None if finding.phase == Phase::Clear => {
                self.waiting.remove(&key);
                return false;
            }
            None => {
                if !self.make_room() {
                    self.waiting.insert(key, (finding, newest(samples)));
                    return false;
                }
                self.add(finding, newest(samples));
                // The picture has changed and is worth another diagnosis. The id of a solution
                // shows if the answer is the same.
                if self.confirmed {
                    self.confirmed = false;
                    self.confirm_from = now;
                }
            }
        }
        // A message that is delivered again after a restart is older than the known state.
        self.incident.changed_at = self.incident.changed_at.max(now);
        self.quiet_since = self.is_quiet().then_some(now);
        true
    }

    /// Makes room for one more finding: without a free place, the finding that cleared first goes.
    /// Returns false if all findings are active.
    fn make_room(&mut self) -> bool {
        let Incident {
            findings, samples, ..
        } = &mut self.incident;
        if findings.len() < MAX_FINDINGS {
            return true;
        }
        let cleared = findings.iter().enumerate();
        let cleared = cleared.filter(|(_, finding)| finding.phase == Phase::Clear);
        let Some((place, _)) = cleared.min_by_key(|(_, finding)| finding.at) else {
            return false;
        };
        findings.remove(place);
        if place < samples.len() {
            samples.remove(place);
        }
        true
    }

    /// Adds the finding of another series.
    fn add(&mut self, finding: Finding, samples: Series) {
        self.incident.findings.push(finding);
        self.incident.samples.push(samples);
    }

    /// Gives the places of cleared findings to active findings that wait for one.
    fn admit_waiting(&mut self) {
        while !self.waiting.is_empty() && self.make_room() {
            if let Some((_, (finding, samples))) = self.waiting.pop_first() {
                self.add(finding, samples);
            }
        }
    }

    /// Returns true if an active finding of the same detector on the same series is known.
    pub(super) fn is_active(&self, finding: &Finding) -> bool {
        let mut active = self.incident.active();
        active.any(|known| have_same_key(known, finding))
            || self.waiting.contains_key(&FindingKey::of(finding))
    }

    fn is_quiet(&self) -> bool {
        self.incident.active().next().is_none()
    }

    /// Returns the active findings, each with the time since which it counts for the confirmation:
    /// its onset, or the last joining of another series if that was later. A finding that was over
    /// in between does not count with its time before. An onset after `now` comes from a clock that
    /// was ahead, and does not count.
    fn lasting(&self, now: UnixMs) -> impl Iterator<Item = (&Finding, UnixMs)> {
        self.incident.active().map(move |finding| {
            let onset = Some(finding.onset_at).filter(|onset| *onset <= now);
            (finding, onset.unwrap_or(UnixMs::MIN).max(self.confirm_from))
        })
    }

    /// Moves starting times after `latest` back to it. They come from a clock that was ahead, and
    /// must not hold the incident open for years.
    pub(super) fn bound(&mut self, latest: UnixMs) {
        let others = self.quiet_since.iter_mut().chain(&mut self.inherited_at);
        for since in others.chain([&mut self.confirm_from]) {
            *since = (*since).min(latest);
        }
    }

    /// Clears the inherited findings that no detector confirmed within `within`: their detector has
    /// lost its state, or is gone. Keeps a finding whose sources all fail, because nothing shows
    /// that it is over. Returns true if a finding was cleared.
    fn expire_inherited(&mut self, now: UnixMs, within: Duration, time: &ExcusedTime) -> bool {
        let since = *self.inherited_at.get_or_insert(now);
        if time.passed(since, now) < millis(within) {
            return false;
        }
        let mut expired = false;
        for finding in &mut self.incident.findings {
            let fails = self
                .coverage
                .get(&finding.signal)
                .is_some_and(|it| it.asked > 0 && it.failed == it.asked);
            if fails || !self.inherited.remove(&FindingKey::of(finding)) {
                continue;
            }
            expired = true;
            finding.phase = Phase::Clear;
            finding.at = now;
            finding.reason = format!(
                "not found again within {} of a restart",
                duration::format(within)
            );
        }
        if expired {
            self.admit_waiting();
            self.incident.changed_at = self.incident.changed_at.max(now);
            self.quiet_since = self.is_quiet().then_some(now);
        }
        expired
    }

    /// Returns the events that are due at `now`. `confirm_after` is the time for which a finding
    /// must last before the incident is confirmed. The time of excused pauses does not count,
    /// because the engine saw nothing then.
    pub(super) fn advance(
        &mut self,
        now: UnixMs,
        config: &IncidentConfig,
        confirm_after: impl Fn(&Finding) -> Duration,
        time: &ExcusedTime,
    ) -> Vec<IncidentEvent> {
        let mut events = Vec::new();
        if !self.inherited.is_empty() && self.expire_inherited(now, config.reaffirm_within, time) {
            events.push(event(IncidentEventKind::Changed, now, &self.incident));
        }
        let passed = |since: UnixMs, wanted| time.passed(since, now) >= millis(wanted);
        let is_over = self
            .quiet_since
            .is_some_and(|since| passed(since, config.quiet_for));
        if is_over {
            self.incident.cleared_at = self.quiet_since;
            // An event that is older than the known state would be ignored.
            self.incident.changed_at = self.incident.changed_at.max(now);
        }
        // A quiet incident is confirmed only after it comes back or is over, so that a short
        // deviation is never treated.
        let is_due = self
            .lasting(now)
            .any(|(finding, since)| passed(since, confirm_after(finding)));
        if !self.confirmed && (is_over || is_due) {
            self.confirmed = true;
            events.push(IncidentEvent {
                witnesses: self.replay_contexts.clone(),
                ..event(IncidentEventKind::Confirmed, now, &self.incident)
            });
        }
        if is_over {
            events.push(event(IncidentEventKind::Cleared, now, &self.incident));
        }
        events
    }
}

pub(super) fn event(kind: IncidentEventKind, at: UnixMs, incident: &Incident) -> IncidentEvent {
    IncidentEvent::new(kind, at, incident.clone())
}

/// Adds up coverages.
fn total<'a>(all: impl Iterator<Item = &'a Coverage>) -> Coverage {
    all.fold(Coverage::default(), |sum, one| Coverage {
        asked: sum.asked.saturating_add(one.asked),
        answered: sum.answered.saturating_add(one.answered),
        failed: sum.failed.saturating_add(one.failed),
    })
}

/// Keeps only the newest samples of a series.
pub(super) fn newest(mut series: Series) -> Series {
    let surplus = series.samples.len().saturating_sub(MAX_SAMPLES);
    series.samples.drain(..surplus);
    series
}
