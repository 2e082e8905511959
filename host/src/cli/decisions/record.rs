//! Formats everything about one decision, for a person to read.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use anomalyzer_domain::{
    Analyst, Anomaly, Decision, GuardVerdict, OperationRecord, Question, Range, Undo, rfc3339,
};
use anomalyzer_history::RecordedEvent;

use super::table::printable;

/// Formats a decision and its events. The text ends in a line break.
pub(super) fn text(decision: &Decision, events: &[RecordedEvent]) -> String {
    let mut record = Record::default();
    heading_lines(&mut record, decision);
    diagnosis_lines(&mut record, decision);
    guard_lines(&mut record, decision);
    for operation in &decision.operations {
        operation_lines(&mut record, operation);
    }
    outcome_lines(&mut record, decision);
    for event in events {
        event_line(&mut record, event);
    }
    record.0
}

/// Adds the identity of the decision, its times and its origin.
fn heading_lines(record: &mut Record, decision: &Decision) {
    record.line("decision", decision.id.as_str());
    record.maybe(
        "incident",
        decision.incident.as_ref().map(ToString::to_string),
    );
    record.line("state", decision.state().as_str());
    let target = decision.target.as_ref();
    record.line(
        "target",
        &target.map_or("none".to_owned(), ToString::to_string),
    );
    record.line("opened", &rfc3339(decision.opened_at));
    let (decided, expires) = (rfc3339(decision.decided_at), rfc3339(decision.expires_at));
    record.line("decided", &format!("{decided}, expires {expires}"));
    let provenance = &decision.provenance;
    record.line(
        "asked by",
        &format!("{} ({})", provenance.by, provenance.source),
    );
}

/// Adds the anomaly, the solution and its reasons.
fn diagnosis_lines(record: &mut Record, decision: &Decision) {
    record.maybe("anomaly", decision.anomaly.as_ref().map(anomaly));
    for finding in &decision.findings {
        record.line(
            "finding",
            &format!(
                "{}: {}{} by {}",
                finding.id, finding.signal, finding.labels, finding.detector
            ),
        );
    }
    let parameters = Value::Object(decision.parameters.clone());
    record.line(
        "solution",
        &format!(
            "{} {parameters}, confidence {}",
            decision.solution, decision.confidence
        ),
    );
    let digest = decision.action_digest.as_ref();
    record.maybe("action", digest.map(|digest| format!("sha256 {digest}")));
    record.line("why", &decision.explanation);
    record.line("analyst", &analyst(&decision.analyst));
    for alternative in &decision.alternatives {
        record.line(
            "or",
            &format!("{}: {}", alternative.solution_type, alternative.explanation),
        );
    }
    for evidence in &decision.evidence {
        let cited = match decision.cites.contains(&evidence.id) {
            true => ", cited",
            false => "",
        };
        record.line(
            "evidence",
            &format!("{}{cited}: {}", evidence.id, evidence.text),
        );
    }
}

/// Adds the verdict of the guard, the question to a person and the answers.
fn guard_lines(record: &mut Record, decision: &Decision) {
    record.maybe("guard", decision.guard.as_ref().map(guard));
    if let Some(asked) = &decision.question {
        question_lines(record, asked);
    }
    for answer in &decision.answers {
        let (verdict, at) = (
            if answer.approved { "yes" } else { "no" },
            rfc3339(answer.at),
        );
        record.line(
            "answer",
            &format!(
                "{verdict} by {} at {at}, to {}: {}",
                answer.by, answer.question, answer.reason
            ),
        );
    }
}

/// Adds the result, and the conversation with the model.
fn outcome_lines(record: &mut Record, decision: &Decision) {
    record.maybe("summary", decision.summary.clone());
    record.maybe(
        "outcome",
        decision.verification.as_ref().map(|verification| {
            let (outcome, at) = (verification.outcome.as_str(), rfc3339(verification.at));
            format!(
                "{outcome} at {at}, {} samples: {}",
                verification.samples, verification.reason
            )
        }),
    );
    record.maybe("undo", decision.undo.as_ref().map(undo));
    record.maybe("prompt", decision.analyst.prompt.clone());
    record.maybe("answer", decision.analyst.raw_answer.clone());
}

fn event_line(record: &mut Record, event: &RecordedEvent) {
    let (seq, at, kind) = (event.seq, rfc3339(event.at), &event.kind);
    let state = event.decision.state().as_str();
    record.line("event", &format!("{at} #{seq} {kind}: {state}"));
}

/// The formatted text.
#[derive(Default)]
struct Record(String);

impl Record {
    /// Adds a text under a name. Further lines of the text are indented below it.
    fn line(&mut self, name: &str, text: &str) {
        for (i, line) in printable(text).lines().enumerate() {
            // A write to a String cannot fail.
            let _ = writeln!(self.0, "{:<10} {line}", if i == 0 { name } else { "" });
        }
    }

    /// Adds a text under a name, if there is one.
    fn maybe(&mut self, name: &str, text: Option<String>) {
        if let Some(text) = text {
            self.line(name, &text);
        }
    }
}

/// Returns the name of an enum's variant in JSON.
fn variant_name(variant: &impl Serialize) -> String {
    match serde_json::to_value(variant) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

fn anomaly(anomaly: &Anomaly) -> String {
    let direction = variant_name(&anomaly.direction);
    let observed = anomaly
        .observed
        .map(|observed| format!(", observed {observed}"))
        .unwrap_or_default();
    let expected = anomaly
        .expected
        .map(|expected| format!(", expected {}", range(expected)))
        .unwrap_or_default();
    let Anomaly {
        signal,
        score,
        severity,
        ..
    } = anomaly;
    format!("{signal} {direction}{observed}{expected}, score {score}, severity {severity}")
}

fn range(range: Range) -> String {
    let end = |end: Option<f64>, or: &str| end.map_or(or.to_owned(), |end| end.to_string());
    format!("{} to {}", end(range.low, "-∞"), end(range.high, "∞"))
}

fn analyst(analyst: &Analyst) -> String {
    let mut text = variant_name(&analyst.kind);
    for (name, value) in [("model", &analyst.model), ("digest", &analyst.digest)] {
        if let Some(value) = value {
            let _ = write!(text, ", {name} {value}");
        }
    }
    let _ = write!(text, ", took {} ms", analyst.took_ms);
    if let Some(why) = &analyst.why_rules {
        let _ = write!(text, ", because {why}");
    }
    text
}

fn guard(guard: &GuardVerdict) -> String {
    let verdict = variant_name(&guard.verdict);
    format!("{verdict} by rule {}: {}", guard.rule, guard.reason)
}

/// Formats the question of a held decision. The text ends in a line break.
pub(super) fn question(question: &Question) -> String {
    let mut record = Record::default();
    question_lines(&mut record, question);
    record.0
}

fn question_lines(record: &mut Record, question: &Question) {
    record.line(
        "asks",
        &format!("{}, until {}", question.id, rfc3339(question.expires_at)),
    );
    record.line(
        "",
        &serde_json::to_string(&question.operation).unwrap_or_default(),
    );
    record.maybe(
        "",
        question
            .version
            .as_ref()
            .map(|version| format!("on the target as it is at version {version}")),
    );
}

fn undo(undo: &Undo) -> String {
    let state = variant_name(&undo.state);
    format!("{state} at {}: {}", rfc3339(undo.at), undo.reason)
}

fn operation_lines(record: &mut Record, operation: &OperationRecord) {
    let on = operation
        .target
        .as_ref()
        .map(|target| format!(" {target}"))
        .unwrap_or_default();
    record.line(
        "operation",
        &format!("{} {}{on}", operation.id, operation.kind),
    );
    let done = operation
        .done_at
        .map(|at| format!(", done {}", rfc3339(at)))
        .unwrap_or_default();
    record.line("", &format!("asked {}{done}", rfc3339(operation.asked_at)));
    record.maybe("", operation.guard.as_ref().map(guard));
    let outcome = operation.outcome.as_ref();
    let outcome =
        outcome.map(|outcome| format!("{} {}", variant_name(&outcome.kind), outcome.detail));
    record.line("", &outcome.unwrap_or("outcome not known".to_owned()));
    for (name, value) in [("before", &operation.before), ("after", &operation.after)] {
        record.maybe("", value.as_ref().map(|value| format!("{name} {value}")));
    }
}
