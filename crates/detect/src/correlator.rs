//! Groups findings into incidents, with at most one open incident per target.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::incident_log::IncidentLog;
use super::pauses::{ExcusedTime, Pause};
use anomalyzer_domain::duration;
use anomalyzer_domain::{
    Coverage, Finding, Incident, IncidentEvent, IncidentEventKind, IncidentId, IncidentView,
    Labels, Phase, ReplayContext, Series, Target, UnixMs, millis,
};

/// Times that decide when an incident is diagnosed and closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IncidentConfig {
    /// Time after which an ongoing incident is diagnosed. An incident that ends earlier needs no
    /// remedy.
    #[serde(with = "duration")]
    pub confirm_after: Duration,
    /// Time for which all findings must be clear before the incident is closed.
    #[serde(with = "duration")]
    pub quiet_for: Duration,
    /// Time for which a finding of a previous engine counts without being found again.
    #[serde(with = "duration")]
    pub reaffirm_within: Duration,
}

impl Default for IncidentConfig {
    fn default() -> Self {
        Self {
            confirm_after: Duration::from_secs(30),
            quiet_for: Duration::from_secs(60),
            reaffirm_within: Duration::from_secs(300),
        }
    }
}

/// Maximum number of findings in one incident. More anomalous series of one target explain nothing
/// more, and the event must stay small enough to publish.
const MAX_FINDINGS: usize = 64;
/// Maximum number of findings of one incident that can be evaluated again.
const MAX_REPLAY_CONTEXTS: usize = 8;
/// Maximum number of samples per series around the onset.
const MAX_SAMPLES: usize = 64;

/// The source of the samples behind a finding.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SampleOrigin {
    pub(super) coverage: Coverage,
    /// True if another producer published the samples.
    pub(super) foreign: bool,
}

/// Identifies a finding within an incident. An incident holds the newest finding of each key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FindingKey {
    signal: String,
    labels: Labels,
    detector: String,
}

impl FindingKey {
    fn of(finding: &Finding) -> Self {
        Self {
            signal: finding.signal.clone(),
            labels: finding.labels.clone(),
            detector: finding.detector.clone(),
        }
    }
}

/// Returns true if a detector made both findings on one series.
fn have_same_key(a: &Finding, b: &Finding) -> bool {
    (&a.signal, &a.labels, &a.detector) == (&b.signal, &b.labels, &b.detector)
}

struct OpenIncident {
    incident: Incident,
    confirmed: bool,
    /// Start of the time until confirmation: the opening, or the time at which another series
    /// joined after a confirmation.
    confirm_from: UnixMs,
    quiet_since: Option<UnixMs>,
    coverage: HashMap<String, Coverage>,
    /// The findings of a previous engine that no detector has confirmed since.
    inherited: HashSet<FindingKey>,
    /// Start of the time within which the inherited findings must be confirmed.
    inherited_at: Option<UnixMs>,
    replay_contexts: Vec<ReplayContext>,
}

impl OpenIncident {
    fn new(incident: Incident, coverage: HashMap<String, Coverage>) -> Self {
        let confirm_from = incident.opened_at;
        Self {
            incident,
            confirmed: false,
            confirm_from,
            quiet_since: None,
            coverage,
            inherited: HashSet::new(),
            inherited_at: None,
            replay_contexts: vec![],
        }
    }

    /// Takes over an incident of a previous engine at time `at`.
    fn inherit(view: IncidentView, at: Option<UnixMs>) -> Self {
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
    fn set_coverage(&mut self, signal: &str, coverage: Coverage) {
        self.coverage.insert(signal.to_owned(), coverage);
        self.incident.coverage = total(self.coverage.values());
    }

    /// Adds a finding, or replaces the finding of the same detector on the same series. Returns
    /// false if the finding does not belong to the incident.
    fn record(&mut self, finding: Finding, samples: Series) -> bool {
        let now = finding.at;
        let findings = &mut self.incident.findings;
        let known = findings
            .iter()
            .position(|known| have_same_key(known, &finding));
        match known {
            Some(known) => {
                self.inherited.remove(&FindingKey::of(&finding));
                findings[known] = finding;
            }
            // A series that clears without having joined does not change the incident.
            None if finding.phase == Phase::Clear => return false,
            None if findings.len() >= MAX_FINDINGS => return false,
            None => {
                findings.push(finding);
                self.incident.samples.push(newest(samples));
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

    fn is_quiet(&self) -> bool {
        self.incident.active().next().is_none()
    }

    /// Moves starting times after `latest` back to it. They come from a clock that was ahead, and
    /// must not hold the incident open for years.
    fn bound(&mut self, latest: UnixMs) {
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
            self.incident.changed_at = self.incident.changed_at.max(now);
            self.quiet_since = self.is_quiet().then_some(now);
        }
        expired
    }

    /// Returns the events that are due at `now`. The pauses of this process count as no time: it
    /// saw nothing then.
    fn advance(
        &mut self,
        now: UnixMs,
        config: &IncidentConfig,
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
        let is_due = self.quiet_since.is_none() && passed(self.confirm_from, config.confirm_after);
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

/// The open incidents of one engine.
pub struct IncidentCorrelator {
    config: IncidentConfig,
    open: HashMap<Target, OpenIncident>,
    log: IncidentLog,
    /// The incidents taken over since the last call of [`Self::take_adopted`].
    adopted: Vec<Incident>,
    /// True if an incident may have inherited findings.
    inherits: bool,
    /// The pauses of this process.
    time: ExcusedTime,
}

impl IncidentCorrelator {
    /// Continues with the incidents in `log`. It takes over each one when the first message about
    /// its target arrives, because another engine may receive these messages.
    pub fn new(config: IncidentConfig, log: IncidentLog) -> Self {
        Self {
            config,
            open: HashMap::new(),
            log,
            adopted: vec![],
            inherits: false,
            time: ExcusedTime::default(),
        }
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
        self.open.get(target).is_some_and(|open| {
            open.incident
                .active()
                .any(|known| have_same_key(known, finding))
        })
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

    /// Excuses a pause of this process: nothing is confirmed and nothing is over because of it.
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
            events.extend(open.advance(now, &self.config, &self.time));
            self.inherits |= !open.inherited.is_empty();
            if !open.incident.is_open() {
                self.open.remove(&target);
            }
        }
        events
    }
}

fn event(kind: IncidentEventKind, at: UnixMs, incident: &Incident) -> IncidentEvent {
    IncidentEvent {
        kind,
        at,
        incident: incident.clone(),
        evidence: vec![],
        attempt: 0,
        witnesses: vec![],
    }
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
fn newest(mut series: Series) -> Series {
    let surplus = series.samples.len().saturating_sub(MAX_SAMPLES);
    series.samples.drain(..surplus);
    series
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::{Direction, FindingId, Meaning};

    fn finding(signal: &str, phase: Phase, at: UnixMs) -> Finding {
        Finding {
            id: FindingId::derive(&[signal]),
            signal: signal.into(),
            meaning: Meaning::Latency,
            labels: Labels::default(),
            detector: "zscore".into(),
            detector_digest: String::new(),
            onset_at: 0,
            at,
            phase,
            direction: Direction::Above,
            score: 2.0,
            severity: 2.0,
            observed: Some(1.0),
            expected: None,
            reason: "high".into(),
        }
    }

    fn config() -> IncidentConfig {
        IncidentConfig {
            confirm_after: Duration::from_millis(10),
            quiet_for: Duration::from_millis(5),
            reaffirm_within: Duration::from_millis(100),
        }
    }

    fn web() -> Target {
        Target::new("", "Process", "web")
    }

    fn none() -> Series {
        Series {
            labels: Labels::default(),
            samples: vec![],
        }
    }

    fn answering() -> Coverage {
        Coverage {
            asked: 1,
            answered: 1,
            failed: 0,
        }
    }

    fn origin() -> SampleOrigin {
        SampleOrigin {
            coverage: answering(),
            foreign: false,
        }
    }

    /// Returns the log after an engine published an incident on `a` that was confirmed and is
    /// ongoing.
    fn left_behind() -> IncidentLog {
        let known = IncidentLog::default();
        let mut correlator = IncidentCorrelator::new(config(), known.clone());
        let opened = correlator.record(&web(), finding("a", Onset, 0), none(), origin());
        opened
            .into_iter()
            .chain(correlator.advance(10))
            .for_each(|event| known.take(&event));
        known
    }

    fn kinds(events: impl IntoIterator<Item = IncidentEvent>) -> Vec<IncidentEventKind> {
        events.into_iter().map(|event| event.kind).collect()
    }

    /// Records findings `(signal, phase, at)`, with an empty signal only the passing of time, and
    /// compares the kinds of the events.
    #[track_caller]
    fn check(steps: &[(&str, Phase, UnixMs)], expected: &[IncidentEventKind]) {
        let mut correlator = IncidentCorrelator::new(config(), IncidentLog::default());
        let target = web();
        let mut kinds = Vec::new();
        for (signal, phase, at) in steps {
            if !signal.is_empty() {
                let samples = Series {
                    labels: Labels::default(),
                    samples: vec![],
                };
                let event = correlator.record(
                    &target,
                    finding(signal, *phase, *at),
                    samples,
                    SampleOrigin::default(),
                );
                kinds.extend(event.map(|event| event.kind));
            }
            kinds.extend(correlator.advance(*at).into_iter().map(|event| event.kind));
        }
        assert_eq!(kinds, expected);
    }

    use IncidentEventKind::{Changed, Cleared, Confirmed, Opened};
    use Phase::{Clear, Onset};

    #[test]
    fn an_incident_opens_is_confirmed_and_clears_when_all_its_series_are_quiet() {
        check(
            &[
                ("a", Onset, 0),
                ("b", Onset, 3),
                ("", Onset, 10),
                ("a", Clear, 12),
                ("b", Clear, 14),
                ("", Clear, 19),
            ],
            &[Opened, Changed, Confirmed, Changed, Changed, Cleared],
        );
    }

    #[test]
    fn what_passes_before_the_confirmation_is_diagnosed_only_as_over() {
        check(
            &[
                ("a", Onset, 0),
                ("a", Clear, 2),
                ("", Clear, 6),
                ("", Clear, 7),
            ],
            &[Opened, Changed, Confirmed, Cleared],
        );
    }

    #[test]
    fn a_series_that_comes_back_in_time_keeps_the_incident_open() {
        check(
            &[
                ("a", Onset, 0),
                ("a", Clear, 2),
                ("a", Onset, 5),
                ("", Onset, 8),
            ],
            &[Opened, Changed, Changed],
        );
    }

    #[test]
    fn a_series_that_joins_later_asks_for_another_diagnosis() {
        check(
            &[
                ("a", Onset, 0),
                ("", Onset, 10),
                ("b", Onset, 12),
                ("", Onset, 22),
            ],
            &[Opened, Confirmed, Changed, Confirmed],
        );
    }

    #[test]
    fn a_clear_without_an_onset_opens_nothing() {
        check(&[("a", Clear, 0)], &[]);
    }

    #[test]
    fn an_incident_that_another_engine_left_is_gone_on_with_and_not_opened_or_confirmed_again() {
        let mut correlator = IncidentCorrelator::new(config(), left_behind());
        assert!(
            correlator.advance(1000).is_empty(),
            "who hears of the target is not known yet"
        );
        correlator.update_coverage(&web(), "a", 1000, answering());
        assert_eq!(correlator.take_adopted().len(), 1);
        assert_eq!(kinds(correlator.advance(1000)), []);
        assert_eq!(
            kinds(correlator.record(&web(), finding("a", Onset, 1010), none(), origin(),)),
            [Changed]
        );
        assert_eq!(
            kinds(correlator.record(&web(), finding("a", Clear, 1020), none(), origin(),)),
            [Changed]
        );
        assert_eq!(kinds(correlator.advance(1025)), [Cleared]);
    }

    #[test]
    fn what_nobody_finds_again_after_a_restart_is_over_after_a_while() {
        let mut correlator = IncidentCorrelator::new(config(), left_behind());
        correlator.adopt_all();
        assert_eq!(kinds(correlator.advance(1000)), []);
        correlator.update_coverage(&web(), "a", 1050, answering());
        assert_eq!(kinds(correlator.advance(1099)), []);
        let events = correlator.advance(1100);
        assert!(
            events[0].incident.findings[0]
                .reason
                .contains("not found again within 100ms"),
            "{events:?}"
        );
        assert_eq!(kinds(events), [Changed]);
        assert_eq!(kinds(correlator.advance(1105)), [Cleared]);
    }

    #[test]
    fn what_cannot_be_seen_after_a_restart_is_not_over() {
        let mut correlator = IncidentCorrelator::new(config(), left_behind());
        correlator.update_coverage(
            &web(),
            "a",
            1000,
            Coverage {
                asked: 1,
                answered: 0,
                failed: 1,
            },
        );
        assert_eq!(kinds(correlator.advance(5000)), []);
        correlator.update_coverage(&web(), "a", 5000, answering());
        assert_eq!(kinds(correlator.advance(5001)), [Changed]);
    }

    #[test]
    fn what_a_detector_still_knows_of_after_a_restart_goes_on() {
        let mut correlator = IncidentCorrelator::new(config(), left_behind());
        correlator.update_coverage(&web(), "a", 1000, answering());
        assert_eq!(
            correlator.inherited("a", "zscore"),
            [(web(), finding("a", Onset, 0))]
        );
        correlator.reaffirm(&web(), &finding("a", Onset, 0));
        assert_eq!(correlator.inherited("a", "zscore"), []);
        assert_eq!(kinds(correlator.advance(9999)), []);
    }

    #[test]
    fn an_incident_that_another_engine_went_on_with_is_left_to_it() {
        let known = left_behind();
        let mut correlator = IncidentCorrelator::new(config(), known.clone());
        correlator.update_coverage(&web(), "a", 1000, answering());
        let mut theirs = correlator.take_adopted().remove(0);
        theirs.changed_at = 1001;
        known.take(&event(Changed, 1001, &theirs));
        assert_eq!(kinds(correlator.advance(9999)), []);
        assert!(correlator.is_empty());
        // Until its target is heard of here again.
        correlator.update_coverage(&web(), "a", 10_000, answering());
        assert_eq!(correlator.take_adopted(), [theirs]);
    }

    /// Returns the kinds of the events at these times after an onset at 0.
    fn kinds_at(
        correlator: &mut IncidentCorrelator,
        times: &[UnixMs],
    ) -> Vec<Vec<IncidentEventKind>> {
        let due = times.iter().map(|at| correlator.advance(*at));
        due.map(|events| events.iter().map(|event| event.kind).collect())
            .collect()
    }

    #[test]
    fn a_pause_of_this_process_confirms_nothing_and_clears_nothing() {
        use IncidentEventKind::{Cleared, Confirmed};
        let mut correlator = IncidentCorrelator::new(config(), IncidentLog::default());
        correlator.record(&web(), finding("a", Onset, 0), none(), origin());
        correlator.excuse(Pause {
            from: 1,
            to: 60_001,
        });
        let told = kinds_at(&mut correlator, &[60_002, 60_009, 60_010]);
        assert_eq!(told, [vec![], vec![], vec![Confirmed]]);
        correlator.record(&web(), finding("a", Clear, 60_020), none(), origin());
        correlator.excuse(Pause {
            from: 60_021,
            to: 120_021,
        });
        let told = kinds_at(&mut correlator, &[120_022, 120_025]);
        assert_eq!(told, [vec![], vec![Cleared]]);
    }

    #[test]
    fn a_clock_that_was_ahead_holds_no_incident_open() {
        use IncidentEventKind::{Cleared, Confirmed};
        const AHEAD: UnixMs = 10 * 365 * 24 * 3600 * 1000;
        let known = IncidentLog::default();
        let mut correlator = IncidentCorrelator::new(config(), known.clone());
        let onset = Finding {
            onset_at: AHEAD,
            ..finding("a", Onset, AHEAD)
        };
        let opened = correlator.record(&web(), onset, none(), origin()).unwrap();
        correlator.note_published(&opened);
        correlator.bound(100);
        assert_eq!(
            kinds_at(&mut correlator, &[105, 110]),
            [vec![], vec![Confirmed]]
        );
        correlator.record(&web(), finding("a", Clear, 120), none(), origin());
        let cleared = correlator.advance(125);
        assert_eq!(cleared[0].kind, Cleared);
        correlator.note_published(&cleared[0]);
        assert!(known.open().is_empty());
        assert!(cleared[0].incident.changed_at >= opened.incident.changed_at);
    }

    proptest::proptest! {
        #[test]
        fn no_time_makes_it_panic(times in proptest::collection::vec(proptest::prelude::any::<i64>(), 1..9)) {
            let mut correlator = IncidentCorrelator::new(config(), left_behind());
            for (at, phase) in times.iter().zip([Onset, Clear, Phase::Ongoing].into_iter().cycle()) {
                correlator.update_coverage(&web(), "a", *at, answering());
                correlator.record(&web(), finding("a", phase, *at), none(), origin());
                correlator.bound(at.wrapping_neg());
                correlator.advance(at.wrapping_neg());
                correlator.advance(*at);
            }
        }
    }
}
