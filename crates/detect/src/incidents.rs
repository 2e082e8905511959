//! Which findings belong together: at most one open incident per target.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::known::{KnownIncident, KnownIncidents};
use anomalyzer_domain::{
    Coverage, Finding, Incident, IncidentEvent, IncidentEventKind, IncidentId, Labels, Phase,
    Series, Target, UnixMs, Witness, duration, millis,
};

/// When an incident is worth a diagnosis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IncidentConfig {
    /// How long it must go on before it is diagnosed: what passes by itself needs no cure.
    #[serde(with = "duration")]
    pub confirm_after: Duration,
    /// How long all must be clear before it is closed.
    #[serde(with = "duration")]
    pub quiet_for: Duration,
    /// How long what an engine before this one had found counts without being found again.
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

/// Most findings that one incident keeps: a target with more anomalous series than this is broken
/// in a way that more won't explain, and the event must stay small enough to travel.
const MOST_FINDINGS: usize = 64;
/// Most of them whose detectors can be asked again.
const MOST_WITNESSES: usize = 8;
/// Most samples kept per series around the onset.
const MOST_SAMPLES: usize = 64;

struct Open {
    incident: Incident,
    confirmed: bool,
    /// From when the time for confirmation runs: the opening, or when another series joined after a
    /// confirmation.
    confirm_from: UnixMs,
    quiet_since: Option<UnixMs>,
    coverage: HashMap<String, Coverage>,
    /// Which findings are those of an engine before this one, and were not said again since.
    inherited: BTreeSet<usize>,
    /// From when the time for saying them again runs.
    inherited_at: Option<UnixMs>,
    witnesses: Vec<Witness>,
}

impl Open {
    fn new(incident: Incident, coverage: HashMap<String, Coverage>) -> Self {
        let confirm_from = incident.opened_at;
        Self {
            incident,
            confirmed: false,
            confirm_from,
            quiet_since: None,
            coverage,
            inherited: BTreeSet::new(),
            inherited_at: None,
            witnesses: vec![],
        }
    }

    /// One that an engine before this one had, taken over at that time.
    fn inherited(known: KnownIncident, at: Option<UnixMs>) -> Self {
        let KnownIncident {
            incident,
            confirmed,
            confirm_from,
        } = known;
        let quiet_since = incident
            .active()
            .next()
            .is_none()
            .then_some(incident.changed_at);
        let active = incident
            .findings
            .iter()
            .enumerate()
            .filter(|(_, finding)| finding.phase != Phase::Clear);
        let inherited = active.map(|(index, _)| index).collect();
        Self {
            confirmed,
            confirm_from,
            quiet_since,
            inherited,
            inherited_at: at,
            ..Self::new(incident, HashMap::new())
        }
    }

    /// Clears what was found by an engine before this one and not again in time: what found it has
    /// no memory of it, or is gone. What can't be seen is not known to be over. Whether there was
    /// any.
    fn give_up(&mut self, now: UnixMs, within: Duration) -> bool {
        let since = *self.inherited_at.get_or_insert(now);
        if now.saturating_sub(since) < millis(within) {
            return false;
        }
        let silent = |signal: &str| {
            self.coverage
                .get(signal)
                .is_some_and(|it| it.asked > 0 && it.failed == it.asked)
        };
        let over: Vec<usize> = self
            .inherited
            .iter()
            .copied()
            .filter(|index| !silent(&self.incident.findings[*index].signal))
            .collect();
        for index in &over {
            self.inherited.remove(index);
            let finding = &mut self.incident.findings[*index];
            finding.phase = Phase::Clear;
            finding.at = now;
            finding.reason = format!(
                "not found again within {} of a restart",
                duration::format(within)
            );
        }
        if over.is_empty() {
            return false;
        }
        self.incident.changed_at = now;
        self.quiet_since = self.incident.active().next().is_none().then_some(now);
        true
    }
}

/// The open incidents.
pub struct IncidentBook {
    config: IncidentConfig,
    open: HashMap<Target, Open>,
    known: KnownIncidents,
    /// Taken over, and not asked for yet.
    adopted: Vec<Incident>,
    /// Whether some finding may be one of an engine before this one.
    inherits: bool,
}

impl IncidentBook {
    /// Goes on with the incidents that are known: with each as soon as something is heard of its
    /// target, since it may be another engine that hears of it.
    pub fn new(config: IncidentConfig, known: KnownIncidents) -> Self {
        Self {
            config,
            open: HashMap::new(),
            known,
            adopted: vec![],
            inherits: false,
        }
    }

    /// Goes on with all that are known at once: there is no other engine.
    pub fn adopt_all(&mut self) {
        for known in self.known.open() {
            self.adopt(known, None);
        }
    }

    fn adopt(&mut self, known: KnownIncident, at: Option<UnixMs>) {
        tracing::info!(incident.id = %known.incident.id, target = %known.incident.target, "an open incident is taken over");
        self.adopted.push(known.incident.clone());
        self.inherits = true;
        self.open
            .insert(known.incident.target.clone(), Open::inherited(known, at));
    }

    /// The incidents that were taken over since this was last asked, as they were.
    pub fn adopted(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.adopted)
    }

    /// Lets go of what another engine went on with meanwhile, and goes on with what another engine
    /// left.
    fn settle(&mut self, target: &Target, at: UnixMs) {
        if let Some(open) = self.open.get(target) {
            if !self.known.went_on(&open.incident) {
                return;
            }
            self.open.remove(target);
        }
        if let Some(known) = self.known.on(target) {
            self.adopt(known, Some(at));
        }
    }

    /// What was published of an incident is known from now on.
    pub fn published(&self, event: &IncidentEvent) {
        self.known.take(event);
    }

    /// The findings that are still those of an engine before this one.
    pub(super) fn inherited(&self, signal: &str, detector: &str) -> Vec<(Target, Finding)> {
        if !self.inherits {
            return vec![];
        }
        let of = |(target, open): (&Target, &Open)| {
            let findings = open
                .inherited
                .iter()
                .map(|index| &open.incident.findings[*index]);
            let its =
                findings.filter(|finding| finding.signal == signal && finding.detector == detector);
            its.map(|finding| (target.clone(), finding.clone()))
                .collect::<Vec<_>>()
        };
        self.open.iter().flat_map(of).collect()
    }

    /// A detector knows of a finding of an engine before this one, so that it will say when it is
    /// over.
    pub(super) fn reaffirm(
        &mut self,
        target: &Target,
        signal: &str,
        labels: &Labels,
        detector: &str,
    ) {
        let Some(open) = self.open.get_mut(target) else {
            return;
        };
        let findings = &open.incident.findings;
        open.inherited.retain(|index| {
            let known = &findings[*index];
            (
                known.signal.as_str(),
                &known.labels,
                known.detector.as_str(),
            ) != (signal, labels, detector)
        });
    }

    /// Whether a finding of that detector on that series goes on.
    pub(super) fn knows(&self, target: &Target, finding: &Finding) -> bool {
        let is_it = |known: &&Finding| {
            (&known.signal, &known.labels, &known.detector)
                == (&finding.signal, &finding.labels, &finding.detector)
        };
        self.open
            .get(target)
            .is_some_and(|open| open.incident.active().any(|known| is_it(&known)))
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Who answered for a signal of a target at that time.
    pub fn cover(&mut self, target: &Target, signal: &str, at: UnixMs, coverage: Coverage) {
        self.settle(target, at);
        if let Some(open) = self.open.get_mut(target) {
            open.coverage.insert(signal.to_owned(), coverage);
            open.incident.coverage = add_up(open.coverage.values());
        }
    }

    /// Takes one finding in. `samples` are those around it.
    pub fn take(
        &mut self,
        target: &Target,
        finding: Finding,
        samples: Series,
        coverage: Coverage,
        foreign: bool,
    ) -> Option<IncidentEvent> {
        let now = finding.at;
        if !self.open.contains_key(target) {
            self.settle(target, now);
        }
        if let Some(open) = self.open.get_mut(target) {
            open.coverage.insert(finding.signal.clone(), coverage);
            open.incident.coverage = add_up(open.coverage.values());
            let known = open.incident.findings.iter().position(|known| {
                known.signal == finding.signal
                    && known.labels == finding.labels
                    && known.detector == finding.detector
            });
            match known {
                Some(known) => {
                    open.inherited.remove(&known);
                    open.incident.findings[known] = finding;
                }
                // A series that clears without having joined has nothing to say here.
                None if finding.phase == Phase::Clear => return None,
                None if open.incident.findings.len() >= MOST_FINDINGS => return None,
                None => {
                    open.incident.findings.push(finding);
                    open.incident.samples.push(cut(samples));
                    // It is another picture now, worth another diagnosis; the same answer is
                    // recognised by its id.
                    if open.confirmed {
                        open.confirmed = false;
                        open.confirm_from = now;
                    }
                }
            }
            // What is delivered again after a restart is older than what is known.
            open.incident.changed_at = open.incident.changed_at.max(now);
            open.quiet_since = if open.incident.active().next().is_none() {
                Some(now)
            } else {
                None
            };
            return Some(event(IncidentEventKind::Changed, now, &open.incident));
        }
        if finding.phase == Phase::Clear {
            return None;
        }
        let incident = Incident {
            id: IncidentId::derive(&[&target.key(), finding.id.as_str()]),
            target: target.clone(),
            opened_at: finding.onset_at,
            changed_at: now,
            cleared_at: None,
            coverage,
            samples: vec![cut(samples)],
            foreign,
            findings: vec![finding],
        };
        let event = event(IncidentEventKind::Opened, now, &incident);
        let coverage = HashMap::from([(incident.findings[0].signal.clone(), coverage)]);
        self.open
            .insert(target.clone(), Open::new(incident, coverage));
        Some(event)
    }

    /// What the detector of one of its findings knew.
    pub(super) fn witness(&mut self, target: &Target, witness: Witness) {
        let Some(open) = self.open.get_mut(target) else {
            return;
        };
        let is_its = open
            .incident
            .findings
            .iter()
            .any(|finding| finding.id == witness.finding.id);
        if is_its && open.witnesses.len() < MOST_WITNESSES {
            open.witnesses.push(witness);
        }
    }

    /// What became due by that time: confirmations and all-clears, in the order of the incidents'
    /// ids.
    pub fn pass(&mut self, now: UnixMs) -> Vec<IncidentEvent> {
        let mut due: Vec<Target> = self.open.keys().cloned().collect();
        due.sort();
        let mut events = Vec::new();
        self.inherits = false;
        for target in due {
            let Some(open) = self.open.get_mut(&target) else {
                continue;
            };
            if self.known.went_on(&open.incident) {
                self.open.remove(&target);
                continue;
            }
            if !open.inherited.is_empty() {
                if open.give_up(now, self.config.reaffirm_within) {
                    events.push(event(IncidentEventKind::Changed, now, &open.incident));
                }
                self.inherits |= !open.inherited.is_empty();
            }
            let passed = |since: UnixMs, time| now.saturating_sub(since) >= millis(time);
            let over = open
                .quiet_since
                .is_some_and(|since| passed(since, self.config.quiet_for));
            let quiet = open.quiet_since.is_some();
            if over {
                open.incident.cleared_at = open.quiet_since;
                open.incident.changed_at = now;
            }
            // What went quiet is not confirmed until it comes back or is over, so that a blip is
            // never treated.
            if !open.confirmed
                && (over || (!quiet && passed(open.confirm_from, self.config.confirm_after)))
            {
                open.confirmed = true;
                let witnesses = open.witnesses.clone();
                events.push(IncidentEvent {
                    witnesses,
                    ..event(IncidentEventKind::Confirmed, now, &open.incident)
                });
            }
            if over {
                events.push(event(IncidentEventKind::Cleared, now, &open.incident));
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

fn add_up<'a>(all: impl Iterator<Item = &'a Coverage>) -> Coverage {
    all.fold(Coverage::default(), |sum, one| Coverage {
        asked: sum.asked.saturating_add(one.asked),
        answered: sum.answered.saturating_add(one.answered),
        failed: sum.failed.saturating_add(one.failed),
    })
}

fn cut(mut series: Series) -> Series {
    let surplus = series.samples.len().saturating_sub(MOST_SAMPLES);
    series.samples.drain(..surplus);
    series
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::{Direction, FindingId, Labels, Meaning};

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

    /// What an engine published of an incident on `a` that was confirmed and goes on.
    fn left_behind() -> KnownIncidents {
        let known = KnownIncidents::default();
        let mut book = IncidentBook::new(config(), known.clone());
        let opened = book.take(&web(), finding("a", Onset, 0), none(), answering(), false);
        opened
            .into_iter()
            .chain(book.pass(10))
            .for_each(|event| known.take(&event));
        known
    }

    fn kinds(events: impl IntoIterator<Item = IncidentEvent>) -> Vec<IncidentEventKind> {
        events.into_iter().map(|event| event.kind).collect()
    }

    /// Feeds `(signal, phase, at)` or, for an empty signal, the passing of time; gives the kinds of
    /// the events.
    #[track_caller]
    fn check(steps: &[(&str, Phase, UnixMs)], expected: &[IncidentEventKind]) {
        let mut book = IncidentBook::new(config(), KnownIncidents::default());
        let target = web();
        let mut kinds = Vec::new();
        for (signal, phase, at) in steps {
            if !signal.is_empty() {
                let samples = Series {
                    labels: Labels::default(),
                    samples: vec![],
                };
                let event = book.take(
                    &target,
                    finding(signal, *phase, *at),
                    samples,
                    Coverage::default(),
                    false,
                );
                kinds.extend(event.map(|event| event.kind));
            }
            kinds.extend(book.pass(*at).into_iter().map(|event| event.kind));
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
        let mut book = IncidentBook::new(config(), left_behind());
        assert!(
            book.pass(1000).is_empty(),
            "who hears of the target is not known yet"
        );
        book.cover(&web(), "a", 1000, answering());
        assert_eq!(book.adopted().len(), 1);
        assert_eq!(kinds(book.pass(1000)), []);
        assert_eq!(
            kinds(book.take(
                &web(),
                finding("a", Onset, 1010),
                none(),
                answering(),
                false
            )),
            [Changed]
        );
        assert_eq!(
            kinds(book.take(
                &web(),
                finding("a", Clear, 1020),
                none(),
                answering(),
                false
            )),
            [Changed]
        );
        assert_eq!(kinds(book.pass(1025)), [Cleared]);
    }

    #[test]
    fn what_nobody_finds_again_after_a_restart_is_over_after_a_while() {
        let mut book = IncidentBook::new(config(), left_behind());
        book.adopt_all();
        assert_eq!(kinds(book.pass(1000)), []);
        book.cover(&web(), "a", 1050, answering());
        assert_eq!(kinds(book.pass(1099)), []);
        let events = book.pass(1100);
        assert!(
            events[0].incident.findings[0]
                .reason
                .contains("not found again within 100ms"),
            "{events:?}"
        );
        assert_eq!(kinds(events), [Changed]);
        assert_eq!(kinds(book.pass(1105)), [Cleared]);
    }

    #[test]
    fn what_cannot_be_seen_after_a_restart_is_not_over() {
        let mut book = IncidentBook::new(config(), left_behind());
        book.cover(
            &web(),
            "a",
            1000,
            Coverage {
                asked: 1,
                answered: 0,
                failed: 1,
            },
        );
        assert_eq!(kinds(book.pass(5000)), []);
        book.cover(&web(), "a", 5000, answering());
        assert_eq!(kinds(book.pass(5001)), [Changed]);
    }

    #[test]
    fn what_a_detector_still_knows_of_after_a_restart_goes_on() {
        let mut book = IncidentBook::new(config(), left_behind());
        book.cover(&web(), "a", 1000, answering());
        assert_eq!(
            book.inherited("a", "zscore"),
            [(web(), finding("a", Onset, 0))]
        );
        book.reaffirm(&web(), "a", &Labels::default(), "zscore");
        assert_eq!(book.inherited("a", "zscore"), []);
        assert_eq!(kinds(book.pass(9999)), []);
    }

    #[test]
    fn an_incident_that_another_engine_went_on_with_is_left_to_it() {
        let known = left_behind();
        let mut book = IncidentBook::new(config(), known.clone());
        book.cover(&web(), "a", 1000, answering());
        let mut theirs = book.adopted().remove(0);
        theirs.changed_at = 1001;
        known.take(&event(Changed, 1001, &theirs));
        assert_eq!(kinds(book.pass(9999)), []);
        assert!(book.is_empty());
        // Until its target is heard of here again.
        book.cover(&web(), "a", 10_000, answering());
        assert_eq!(book.adopted(), [theirs]);
    }

    proptest::proptest! {
        #[test]
        fn no_time_makes_it_panic(times in proptest::collection::vec(proptest::prelude::any::<i64>(), 1..9)) {
            let mut book = IncidentBook::new(config(), left_behind());
            for (at, phase) in times.iter().zip([Onset, Clear, Phase::Ongoing].into_iter().cycle()) {
                book.cover(&web(), "a", *at, answering());
                book.take(&web(), finding("a", phase, *at), none(), answering(), false);
                book.pass(at.wrapping_neg());
                book.pass(*at);
            }
        }
    }
}
