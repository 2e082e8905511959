//! Conversion of records to columns before they go to the writer.

use std::sync::Arc;

use anomalyzer_domain::{Decision, Incident, OperationRecord, PluginChange, Target, UnixMs};

use super::{DecisionEvent, Input, RecordedEvent, full_text};

/// One event and the state of the decision after it.
#[derive(Debug)]
pub(super) struct EventColumns {
    pub kind: &'static str,
    pub at: UnixMs,
    pub decision: Arc<Decision>,
    pub target: Option<String>,
    /// The decision as JSON.
    pub body: Vec<u8>,
    /// The decision with the input of the step, if the step had one.
    pub with_input: Option<Vec<u8>>,
    pub words: String,
    pub operations: Vec<OperationColumns>,
}

/// Stored form of an event: the decision's own fields and the input.
#[derive(serde::Serialize)]
struct WithInput<'a> {
    #[serde(flatten)]
    decision: &'a Decision,
    input: Input,
}

/// One operation.
#[derive(Debug)]
pub(super) struct OperationColumns {
    pub id: String,
    pub target: Option<String>,
    pub kind: String,
    pub asked_at: UnixMs,
    pub outcome: Option<String>,
    pub body: Vec<u8>,
}

/// One incident.
#[derive(Debug)]
pub(super) struct IncidentColumns {
    pub id: String,
    /// Kind of the event.
    pub kind: &'static str,
    pub target: String,
    pub opened_at: UnixMs,
    pub changed_at: UnixMs,
    pub cleared_at: Option<UnixMs>,
    pub body: Vec<u8>,
}

/// One change of a plugin.
#[derive(Debug)]
pub(super) struct PluginColumns {
    pub plugin: String,
    pub at: UnixMs,
    pub kind: &'static str,
    pub body: Vec<u8>,
}

impl EventColumns {
    /// Creates the columns of an event from its stored form. The stored bytes are kept unchanged.
    pub(super) fn recorded(kind: &str, at: UnixMs, stored: &[u8]) -> serde_json::Result<Self> {
        let kind = serde_json::from_value(kind.into())?;
        let RecordedEvent { decision, .. } = RecordedEvent::read(0, at, String::new(), stored)?;
        let mut columns = Self::of(DecisionEvent {
            kind,
            at,
            decision,
            input: None,
        })?;
        columns.with_input = Some(stored.to_owned());
        Ok(columns)
    }

    /// Returns the stored form of the event.
    pub(super) fn event(&self) -> &[u8] {
        self.with_input.as_deref().unwrap_or(&self.body)
    }

    pub(super) fn of(event: DecisionEvent) -> serde_json::Result<Self> {
        let DecisionEvent {
            kind,
            at,
            mut decision,
            input,
        } = event;
        decision.confidence = finite(decision.confidence);
        if let Some(anomaly) = &mut decision.anomaly {
            anomaly.score = finite(anomaly.score);
            anomaly.severity = finite(anomaly.severity);
        }
        for finding in &mut decision.findings {
            finding.score = finite(finding.score);
            finding.severity = finite(finding.severity);
        }
        let operations = decision
            .operations
            .iter()
            .map(|operation| OperationColumns::of(operation, decision.target.as_ref()))
            .collect::<serde_json::Result<_>>()?;
        Ok(Self {
            kind: kind.as_str(),
            at,
            target: decision.target.as_ref().map(Target::to_string),
            with_input: input
                .map(|input| {
                    serde_json::to_vec(&WithInput {
                        decision: &decision,
                        input,
                    })
                })
                .transpose()?,
            body: serde_json::to_vec(&decision)?,
            words: full_text::words(&decision),
            operations,
            decision: Arc::new(decision),
        })
    }
}

impl OperationColumns {
    /// Creates the columns of an operation. An operation without a target of its own (HTTP, a
    /// notice) gets the decision's target.
    fn of(operation: &OperationRecord, target: Option<&Target>) -> serde_json::Result<Self> {
        let outcome = operation
            .outcome
            .as_ref()
            .map(|outcome| serde_json::to_value(outcome.kind))
            .transpose()?;
        Ok(Self {
            id: operation.id.to_string(),
            target: operation.target.as_ref().or(target).map(Target::to_string),
            kind: operation.kind.clone(),
            asked_at: operation.asked_at,
            outcome: outcome.and_then(|outcome| outcome.as_str().map(str::to_owned)),
            body: serde_json::to_vec(operation)?,
        })
    }
}

impl IncidentColumns {
    pub(super) fn of(incident: &Incident) -> serde_json::Result<Self> {
        let mut incident = incident.clone();
        for finding in &mut incident.findings {
            finding.score = finite(finding.score);
            finding.severity = finite(finding.severity);
        }
        Ok(Self {
            id: incident.id.to_string(),
            kind: match incident.cleared_at {
                Some(_) => "cleared",
                None => "open",
            },
            target: incident.target.to_string(),
            opened_at: incident.opened_at,
            changed_at: incident.changed_at,
            cleared_at: incident.cleared_at,
            body: serde_json::to_vec(&incident)?,
        })
    }
}

impl PluginColumns {
    pub(super) fn of(change: &PluginChange) -> serde_json::Result<Self> {
        Ok(Self {
            plugin: change.plugin.clone(),
            at: change.at,
            kind: change.kind.as_str(),
            body: serde_json::to_vec(change)?,
        })
    }
}

/// Makes a value finite. JSON has no infinity and no NaN; they would be written as `null`, which
/// could not be read again.
fn finite(value: f64) -> f64 {
    if value.is_nan() {
        0.0
    } else {
        value.clamp(f64::MIN, f64::MAX)
    }
}
