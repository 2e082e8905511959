//! What the guard is told: the world as it is at the moment of asking.

use super::Actor;
use super::approval::approved;
use anomalyzer_domain::{
    Coverage, Decision, Incident, Operation, OperationRecord, OutcomeKind, Provenance, Snapshot,
    Target, UnixMs, millis, rfc3339,
};
use anomalyzer_policy::{
    DiagnosisFacts, Facts, HOUR, IncidentFacts, PastOperation, RateLimitFacts, Source, Spent,
};

impl Actor {
    pub(super) async fn look(&self, target: Option<&Target>) -> (Option<Snapshot>, Option<String>) {
        let Some(target) = target else {
            return (None, None);
        };
        match tokio::time::timeout(self.config.operation_timeout, self.hands.inspect(target)).await
        {
            Ok(Ok(snapshot)) => (Some(snapshot), None),
            Ok(Err(error)) => (None, Some(error.to_string())),
            Err(_) => (None, Some("no answer in time".to_owned())),
        }
    }

    pub(super) async fn facts(
        &self,
        decision: &Decision,
        operation: Option<&Operation>,
        snapshot: Option<&Snapshot>,
    ) -> Facts {
        let now = (self.clock)();
        let incident = match &decision.incident {
            None => None,
            Some(id) => Some(match self.incident(id).await {
                Some(incident) => incident_facts(&incident, |signal| {
                    self.recent.coverage(signal, &incident.target)
                }),
                None => IncidentFacts::default(),
            }),
        };
        let jumped = self.jumped();
        let since = now
            .saturating_sub(millis(self.policy.cooldown.max(HOUR)))
            .saturating_sub(jumped);
        let past = match operation
            .and_then(Operation::target)
            .or(decision.target.as_ref())
        {
            Some(touched) => self.past(decision, touched, since).await,
            None => vec![],
        };
        Facts {
            now,
            jumped,
            // As it is on record here, not as the message had it: see `origin`.
            source: match decision.provenance.source.as_str() {
                Provenance::ENGINE => Source::Engine,
                Provenance::API => Source::Person,
                _ => Source::Foreign,
            },
            solution: decision.solution.clone(),
            plugin_mode: self
                .plugins
                .standing(&decision.solution)
                .map(|(mode, ..)| mode)
                .unwrap_or_default(),
            target: decision.target.clone(),
            expires_at: decision.expires_at,
            incident,
            diagnosis: DiagnosisFacts {
                analyst: decision.analyst.kind,
                confidence: decision.confidence,
                attempt: decision.attempt,
            },
            operation: operation.cloned(),
            takes_back: false,
            approved: operation.and_then(|operation| approved(decision, operation, snapshot)),
            snapshot: snapshot.cloned(),
            stopped: self.kill_switch.why(),
            silenced: operation
                .and_then(Operation::target)
                .or(decision.target.as_ref())
                .and_then(|target| {
                    let silence = self.silences.of(target, now)?;
                    Some(format!(
                        "{} (by {}, until {})",
                        silence.why,
                        silence.by,
                        rfc3339(silence.until)
                    ))
                }),
            open_incidents: u32::try_from(self.incidents.count()).unwrap_or(u32::MAX),
            spent: Spent::default(),
            past,
            rate_limit: decision
                .target
                .as_ref()
                .and_then(|target| self.rate_limit(target)),
        }
    }

    /// What is configured for `rate_limit` of a target.
    fn rate_limit(&self, target: &Target) -> Option<RateLimitFacts> {
        let configured = self.rate_limits.get(&target.key())?;
        let patched = configured
            .get("patch")
            .and_then(|patch| patch.get("target"));
        Some(RateLimitFacts {
            patches: patched.and_then(|patched| serde_json::from_value(patched.clone()).ok()),
        })
    }

    pub(super) async fn past(
        &self,
        decision: &Decision,
        target: &Target,
        since: UnixMs,
    ) -> Vec<PastOperation> {
        match self.history.operations_since(Some(target), since).await {
            Ok(past) => past
                .into_iter()
                .filter(|past| past.decision != decision.id)
                .map(|past| PastOperation {
                    target: target.clone(),
                    solution: past.solution.clone(),
                    kind: past.operation.kind.clone(),
                    replicas: match &past.operation.operation {
                        Operation::Scale { replicas, .. } => Some(*replicas),
                        _ => None,
                    },
                    notice: match &past.operation.operation {
                        Operation::Notify(notify) => Some(notify.title.clone()),
                        _ => None,
                    },
                    asked_at: past.operation.asked_at,
                    took_effect: may_have_taken_effect(&past.operation),
                })
                .collect(),
            Err(error) => {
                // Not knowing the past must not look like there was none.
                tracing::error!(%error, "cannot read past operations; taken as just done");
                vec![PastOperation {
                    target: target.clone(),
                    solution: decision.solution.clone(),
                    kind: "unknown".into(),
                    replicas: None,
                    notice: None,
                    asked_at: (self.clock)(),
                    took_effect: true,
                }]
            }
        }
    }

    /// How far the clock jumped ahead within the hour.
    fn jumped(&self) -> i64 {
        let mut jumps = self.desk.jumps.lock();
        jumps.look((self.clock)(), (self.steady)())
    }

    /// What of the budgets of a target is used up. Not to know it is to have none left.
    pub(super) async fn spent(&self, target: &Target) -> Spent {
        let hour = millis(HOUR);
        let since = (self.clock)()
            .saturating_sub(hour)
            .saturating_sub(self.jumped());
        let [on_target, in_namespace, in_cluster] = match self
            .history
            .changes_since(target, since)
            .await
        {
            Ok(changes) => changes,
            Err(error) => {
                tracing::error!(%error, "cannot count past operations; the budgets are taken as used up");
                [u32::MAX; 3]
            }
        };
        Spent {
            on_target,
            in_namespace,
            in_cluster,
        }
    }
}

/// What is in doubt, or has no outcome, may have happened. But of a notice in doubt nobody may have
/// heard: it is told once too often rather than never.
fn may_have_taken_effect(record: &OperationRecord) -> bool {
    let notice = matches!(record.operation, Operation::Notify(_));
    let effect = record
        .outcome
        .as_ref()
        .is_none_or(|outcome| match outcome.kind {
            OutcomeKind::Done => true,
            OutcomeKind::InDoubt => !notice,
            OutcomeKind::Foreseen | OutcomeKind::Denied | OutcomeKind::Failed => false,
        });
    effect && !record.operation.is_read()
}

/// What is known of an incident, by who answered last for each of its signals and when its newest
/// sample was taken. The signal that lags behind most counts, and one without samples for all:
/// fresh data of one do not stand for another.
fn incident_facts(
    incident: &Incident,
    heard: impl Fn(&str) -> Option<(Coverage, Option<UnixMs>)>,
) -> IncidentFacts {
    let mut coverage = Coverage::default();
    let mut as_of = Some(UnixMs::MAX);
    let mut signals: Vec<&str> = incident
        .findings
        .iter()
        .map(|finding| finding.signal.as_str())
        .collect();
    signals.sort_unstable();
    signals.dedup();
    for signal in &signals {
        let (of_signal, newest) = heard(signal).unwrap_or_default();
        coverage.asked += of_signal.asked;
        coverage.answered += of_signal.answered;
        coverage.failed += of_signal.failed;
        as_of = as_of.zip(newest).map(|(oldest, newest)| oldest.min(newest));
    }
    IncidentFacts::of(incident, coverage, as_of.filter(|_| !signals.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::rig;

    #[test]
    fn an_incident_is_as_fresh_as_the_signal_that_lags_behind_most() {
        let incident = rig::incident(&["errors", "latency"]);
        let whole = Coverage {
            asked: 2,
            answered: 2,
            failed: 0,
        };
        let facts = |latency: Option<(Coverage, Option<UnixMs>)>| {
            incident_facts(&incident, |signal| {
                if signal == "latency" {
                    latency
                } else {
                    Some((whole, Some(100)))
                }
            })
        };
        assert_eq!(facts(Some((whole, Some(40)))).as_of, Some(40));
        assert_eq!(facts(Some((whole, Some(140)))).as_of, Some(100));
        assert_eq!(facts(Some((whole, None))).as_of, None);
        assert_eq!(facts(None).as_of, None);
        let partly = facts(Some((
            Coverage {
                asked: 2,
                answered: 1,
                failed: 1,
            },
            Some(40),
        )))
        .coverage;
        assert_eq!(
            partly,
            Coverage {
                asked: 4,
                answered: 3,
                failed: 1
            }
        );
    }

    #[test]
    fn an_incident_without_signals_has_no_data() {
        assert_eq!(incident_facts(&rig::incident(&[]), |_| None).as_of, None);
    }
}
