//! Narrates the events of the demo, as lines of text or as JSON events, one per line.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use anomalyzer_bus::Bus;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{
    AnalystKind, Decision, FindingId, IncidentEventKind, Operation, OperationRecord, OutcomeKind,
    Phase, Topic, rfc3339,
};
use anomalyzer_history::History;

/// Writer of lines to standard output. A closed output does not stop the demo, so write errors are
/// ignored.
#[derive(Clone)]
pub(super) struct Narrator {
    json: bool,
    started: i64,
}

impl Narrator {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            started: now_ms(),
        }
    }

    /// Writes one event: a short machine-readable name, the line for a person, and details for a
    /// program.
    pub(super) fn say(&self, event: &str, line: &str, detail: &Value) {
        let now = now_ms();
        let text = if self.json {
            json!({ "at": rfc3339(now), "event": event, "text": line, "detail": detail })
                .to_string()
        } else {
            format!("{:>6.1}s  {line}", (now - self.started) as f64 / 1000.0)
        };
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Writes a heading.
    pub(super) fn chapter(&self, name: &str, line: &str) {
        if !self.json {
            let _ = writeln!(std::io::stdout().lock());
        }
        self.say(
            "chapter",
            &format!("── {name}: {line}"),
            &json!({ "name": name }),
        );
    }

    /// Follows incidents and decisions and narrates each change, until `shutdown`.
    pub(super) async fn follow(
        self,
        bus: std::sync::Arc<dyn Bus>,
        history: History,
        shutdown: CancellationToken,
    ) {
        let Ok(mut incidents) = bus.tail(Topic::Incidents).await else {
            return;
        };
        let mut decisions = history.subscribe();
        let mut narrated: HashMap<String, Narrated> = HashMap::new();
        let mut found = HashSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                deliveries = incidents.next(64, Duration::from_secs(1)) => {
                    for delivery in deliveries.unwrap_or_default() {
                        if let Ok(event) = anomalyzer_wire::incidents::decode(&delivery) {
                            self.incident(&event, &mut found);
                        }
                    }
                }
                decision = decisions.recv() => match decision {
                    Ok(decision) => self.decision(&decision, narrated.entry(decision.id.to_string()).or_default()),
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }

    /// Narrates an incident event. `found` holds the findings that were narrated already: an event
    /// has all findings of its incident, and several may be new.
    fn incident(
        &self,
        event: &anomalyzer_domain::IncidentEvent,
        found: &mut HashSet<(FindingId, bool)>,
    ) {
        let incident = &event.incident;
        let detail = || serde_json::to_value(incident).unwrap_or_default();
        match event.kind {
            IncidentEventKind::Opened | IncidentEventKind::Changed => {
                for finding in &incident.findings {
                    let over = finding.phase == Phase::Clear;
                    if finding.phase == Phase::Ongoing || !found.insert((finding.id.clone(), over))
                    {
                        continue;
                    }
                    let what = if over { "back to normal" } else { "detected" };
                    let line = format!(
                        "{what}: {} of {}: {}",
                        finding.signal, incident.target.name, finding.reason
                    );
                    self.say("finding", &line, &json!(finding));
                }
            }
            IncidentEventKind::Confirmed if incident.is_open() => {
                let line = format!(
                    "incident {} on {} goes on: asking the analyst",
                    incident.id, incident.target.name
                );
                self.say("incident_confirmed", &line, &detail());
            }
            IncidentEventKind::Confirmed => {
                let line = format!(
                    "incident {} on {} passed by itself",
                    incident.id, incident.target.name
                );
                self.say("incident_passed", &line, &detail());
            }
            IncidentEventKind::Gathered => {
                let line = format!(
                    "incident {}: asking the analyst again, with what was gathered",
                    incident.id
                );
                self.say("incident_gathered", &line, &detail());
            }
            IncidentEventKind::Cleared => {
                found.retain(|(id, _)| incident.findings.iter().all(|finding| finding.id != *id));
                self.say(
                    "incident_cleared",
                    &format!("incident {} is over", incident.id),
                    &detail(),
                );
            }
        }
    }

    fn decision(&self, decision: &Decision, narrated: &mut Narrated) {
        if !std::mem::replace(&mut narrated.proposed, true) {
            let analyst = &decision.analyst;
            let who = match analyst.kind {
                AnalystKind::Ollama => {
                    format!(
                        "{} in {} ms",
                        analyst.model.as_deref().unwrap_or("ollama"),
                        analyst.took_ms
                    )
                }
                AnalystKind::Rules => format!(
                    "rules: {}",
                    analyst.why_rules.as_deref().unwrap_or("configured")
                ),
                AnalystKind::External => "asked for".to_owned(),
            };
            let line = format!(
                "decision {}: {} ({who}) because {}",
                decision.id, decision.solution, decision.explanation
            );
            self.say("decision", &line, &json!(decision));
        }
        if let Some(guard) = decision
            .guard
            .as_ref()
            .filter(|guard| narrated.guard.as_ref() != Some(&guard.rule))
        {
            narrated.guard = Some(guard.rule.clone());
            let verdict = serde_json::to_value(guard.verdict).unwrap_or_default();
            let line = format!(
                "guard: {} by rule {}: {}",
                verdict.as_str().unwrap_or("?"),
                guard.rule,
                guard.reason
            );
            self.say("guard", &line, &json!(guard));
        }
        for operation in decision.operations.iter().skip(narrated.operations) {
            let Some(outcome) = &operation.outcome else {
                break;
            };
            narrated.operations += 1;
            let how = match outcome.kind {
                OutcomeKind::Done => "done".to_owned(),
                OutcomeKind::Foreseen => "not done, foreseen only".to_owned(),
                OutcomeKind::Denied | OutcomeKind::Failed | OutcomeKind::InDoubt => {
                    format!(
                        "{}: {}",
                        serde_json::to_value(outcome.kind).unwrap_or_default(),
                        outcome.detail
                    )
                }
            };
            self.say(
                "operation",
                &format!("act: {}: {how}", describe(operation)),
                &json!(operation),
            );
        }
        if let Some(verification) = &decision.verification
            && !std::mem::replace(&mut narrated.verified, true)
        {
            let line = format!(
                "verified: {}: {}",
                verification.outcome.as_str(),
                verification.reason
            );
            self.say("verification", &line, &json!(verification));
        }
        if decision.state().needs_no_work() && !std::mem::replace(&mut narrated.ended, true) {
            let summary = decision.summary.as_deref().unwrap_or("");
            let line = format!(
                "decision {} is {}: {summary}",
                decision.id,
                decision.state().as_str()
            );
            self.say("decision_ended", &line, &json!(decision));
        }
    }
}

/// Parts of a decision that were narrated already.
#[derive(Default)]
struct Narrated {
    proposed: bool,
    guard: Option<String>,
    operations: usize,
    verified: bool,
    ended: bool,
}

fn describe(record: &OperationRecord) -> String {
    match &record.operation {
        Operation::Scale { target, replicas } => {
            let before = record
                .before
                .as_ref()
                .map(|before| format!(" from {before}"))
                .unwrap_or_default();
            format!("scale {}{before} to {replicas}", target.name)
        }
        Operation::Notify(notice) => format!("notify: {}", notice.title),
        other => format!(
            "{} {}",
            other.kind(),
            other.target().map_or("", |target| target.name.as_str())
        ),
    }
}
