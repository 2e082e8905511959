//! The simulated world of a backtest: the replicas of the targets, the operations performed so far,
//! and the guard.

use std::collections::{BTreeMap, HashMap};

use super::data::Recorded;
use super::report::{Incident, Outcome, Report, Tried};
use super::setup::BacktestSetup;
use anomalyzer_domain::{
    Coverage, GuardVerdict, IncidentEvent, IncidentEventKind, Mode, Operation, Replicas, Snapshot,
    Solution, Target, UnixMs, Verdict, millis, solutions,
};
use anomalyzer_policy::{
    DiagnosisFacts, Facts, HOUR, IncidentFacts, PastOperation, RateLimitFacts, Source, Spent,
    TargetFacts, usual,
};

/// Assumed number of replicas of a target. The recorded metrics do not state it.
const REPLICAS: u32 = 2;

pub(super) struct World<'a> {
    setup: &'a BacktestSetup,
    replicas: HashMap<Target, u32>,
    past: Vec<PastOperation>,
    incidents: Vec<Incident>,
    open: BTreeMap<anomalyzer_domain::IncidentId, anomalyzer_domain::Incident>,
}

impl<'a> World<'a> {
    pub fn new(setup: &'a BacktestSetup) -> Self {
        Self {
            setup,
            replicas: HashMap::new(),
            past: vec![],
            incidents: vec![],
            open: BTreeMap::new(),
        }
    }

    /// Applies an incident event.
    pub fn see(&mut self, event: &IncidentEvent) {
        let incident = &event.incident;
        match event.kind {
            IncidentEventKind::Cleared => drop(self.open.remove(&incident.id)),
            _ => drop(self.open.insert(incident.id.clone(), incident.clone())),
        }
        let known = self
            .incidents
            .iter()
            .rposition(|known| known.id == incident.id);
        let index = known.unwrap_or_else(|| {
            self.incidents.push(Incident::new(incident));
            self.incidents.len() - 1
        });
        self.incidents[index].see(incident);
    }

    /// Returns the event with the present state of its incident. Returns `None` if the incident is
    /// over, or has no active finding.
    pub fn goes_on(&self, event: &IncidentEvent, now: UnixMs) -> Option<IncidentEvent> {
        let incident = self.open.get(&event.incident.id)?.clone();
        incident.active().next()?;
        Some(IncidentEvent {
            incident,
            at: now,
            ..event.clone()
        })
    }

    /// Asks the guard about the solution, and performs its operation if the guard allows it.
    /// Returns the number of milliseconds until the next look at the incident, or `None` if there
    /// is none.
    pub fn decide(
        &mut self,
        event: &IncidentEvent,
        solution: &Solution,
        now: UnixMs,
    ) -> Option<i64> {
        let target = &event.incident.target;
        let name = solution.solution_type.replace('-', "_");
        let replicas = *self.replicas.get(target).unwrap_or(&REPLICAS);
        let operation = usual(&name, target, replicas).map(|operation| match operation {
            Operation::Notify(notice) => {
                // The cooldown of a notice goes by its title.
                let title = format!("{} on {target}", solution.anomaly_type);
                Operation::Notify(anomalyzer_domain::Notice { title, ..notice })
            }
            other => other,
        });
        let mut verdict = self.ask(event, solution, &name, None, now);
        if verdict.verdict == Verdict::Allow
            && let Some(operation) = &operation
        {
            verdict = self.ask(event, solution, &name, Some(operation), now);
        }
        let allowed = verdict.verdict == Verdict::Allow;
        let outcome = match (&verdict.verdict, &operation) {
            (Verdict::Allow, Some(_)) => Outcome::Done,
            (Verdict::Allow, None) => Outcome::Nothing,
            (Verdict::Hold, _) => Outcome::Held,
            (Verdict::Shadow, _) => Outcome::Shadowed,
            (Verdict::Deny, _) => Outcome::Denied,
        };
        if allowed && let Some(operation) = &operation {
            self.perform(operation, &name, target, now);
        }
        let tried = Tried {
            at: now,
            solution: name.clone(),
            operation: operation
                .as_ref()
                .map(|operation| operation.kind().to_owned()),
            outcome,
            rule: verdict.rule,
            reason: verdict.reason,
            why: solution.explanation.clone(),
        };
        if let Some(known) = self
            .incidents
            .iter_mut()
            .rfind(|known| known.id == event.incident.id)
        {
            known.tried.push(tried);
        }
        match name.as_str() {
            solutions::CHECK_LOGS | solutions::INVESTIGATE if allowed => Some(0),
            solutions::NO_ACTION | solutions::ALARM => None,
            _ if allowed => Some(self.verification_time(event)),
            _ => None,
        }
    }

    /// Returns the time from an operation to its verdict, in milliseconds.
    fn verification_time(&self, event: &IncidentEvent) -> i64 {
        let (verify, timing) = (&self.setup.verify, &self.setup.timing);
        let mut findings = event.incident.findings.iter();
        let timings = findings.by_ref().filter_map(|finding| {
            let timing = timing
                .get(&finding.signal)
                .filter(|_| finding.expected.is_some())?;
            Some((finding.signal.as_str(), *timing))
        });
        millis(verify.observation(verify.settle, timings).until)
    }

    fn ask(
        &self,
        event: &IncidentEvent,
        solution: &Solution,
        name: &str,
        operation: Option<&Operation>,
        now: UnixMs,
    ) -> GuardVerdict {
        let target = &event.incident.target;
        let desired = *self.replicas.get(target).unwrap_or(&REPLICAS);
        let incident = &event.incident;
        let rate_limited = self.setup.candidates.rate_limited.contains(&target.key());
        let facts = Facts {
            now,
            jumped: 0,
            source: Source::Engine,
            solution: name.to_owned(),
            plugin_mode: Mode::Auto,
            target: Some(target.clone()),
            expires_at: solution.expires_at.max(now),
            incident: Some(IncidentFacts::of(
                incident,
                Coverage {
                    asked: 1,
                    answered: 1,
                    failed: 0,
                },
                Some(now),
            )),
            diagnosis: DiagnosisFacts {
                analyst: solution.analyst.kind,
                confidence: solution.confidence,
                attempt: solution.attempt,
            },
            operation: operation.cloned(),
            effect: None,
            takes_back: false,
            approved: None,
            snapshot: Some(Snapshot::plain(
                target.clone(),
                now,
                Some(Replicas {
                    desired,
                    ready: desired,
                }),
            )),
            target_facts: TargetFacts::default(),
            stopped: None,
            record_mismatch: None,
            silenced: None,
            open_incidents: u32::try_from(self.open.len()).unwrap_or(u32::MAX),
            spent: self.spent(target, now),
            past: self
                .past
                .iter()
                .filter(|past| past.target == *target)
                .cloned()
                .collect(),
            rate_limit: rate_limited.then(|| RateLimitFacts {
                patches: Some(target.clone()),
            }),
        }
        .with_effect(None);
        anomalyzer_policy::judge(&facts, &self.setup.policy)
    }

    fn spent(&self, target: &Target, now: UnixMs) -> Spent {
        let since = now - millis(HOUR);
        let changes = || {
            self.past
                .iter()
                .filter(|past| past.asked_at > since && past.notice.is_none())
        };
        let count = |is: &dyn Fn(&Target) -> bool| {
            u32::try_from(changes().filter(|past| is(&past.target)).count()).unwrap_or(u32::MAX)
        };
        Spent {
            on_target: count(&|one| one == target),
            in_namespace: count(&|one| {
                (&one.cluster, &one.namespace) == (&target.cluster, &target.namespace)
            }),
            in_cluster: count(&|one| one.cluster == target.cluster),
        }
    }

    fn perform(&mut self, operation: &Operation, solution: &str, target: &Target, now: UnixMs) {
        let scaled = match operation {
            Operation::Scale { replicas, .. } => Some(*replicas),
            _ => None,
        };
        if let Some(replicas) = scaled {
            self.replicas.insert(target.clone(), replicas);
        }
        let keep = millis(self.setup.policy.cooldown.max(HOUR));
        self.past
            .retain(|past| past.asked_at > now.saturating_sub(keep));
        self.past.push(PastOperation {
            target: target.clone(),
            solution: solution.to_owned(),
            kind: operation.kind().to_owned(),
            replicas: scaled,
            notice: match operation {
                Operation::Notify(notice) => Some(notice.title.clone()),
                _ => None,
            },
            asked_at: now,
            took_effect: true,
        });
    }

    pub fn report(self, recorded: &[Recorded]) -> Report {
        Report::new(self.incidents, recorded)
    }
}
