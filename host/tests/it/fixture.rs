//! Sample decisions, and a history in its own folder.

use std::path::PathBuf;

use anomalyzer_common::metrics::Metrics;
use anomalyzer_domain::testing::{self, scale, walk};
use anomalyzer_domain::{
    Analyst, AnalystKind, Anomaly, Decision, DecisionId, DecisionState, Direction, Evidence,
    EvidenceKind, Finding, FindingId, GuardVerdict, Incident, IncidentId, Labels, OperationId,
    OperationRecord, Outcome, OutcomeKind, Provenance, Range, Solution, UnixMs, Verdict,
    Verification, VerificationOutcome,
};
use anomalyzer_history::{
    DecisionEvent, DecisionEventKind, FILE_NAME, Filter, History, HistoryOptions, Page,
};
use serde_json::json;
use tempfile::TempDir;

pub use anomalyzer_domain::testing::web;

/// 2026-01-31T12:00:00Z.
pub const NOON: UnixMs = 1_769_860_800_000;

/// Returns decision number `n`, proposed `n` minutes after noon.
pub fn proposed(n: i64) -> Decision {
    let at = NOON + n * 60_000;
    let id = DecisionId::derive(&["test", &n.to_string()]);
    let mut decision = Decision::proposed(&Solution {
        explanation: format!("latency rises with the queue, number {n}"),
        incident: Some(IncidentId::from("inc-0000000000000001")),
        target: Some(web()),
        parameters: json!({"replicas": 4}).as_object().unwrap().clone(),
        confidence: 0.8,
        evidence: vec![Evidence {
            id: "e1".to_owned(),
            kind: EvidenceKind::Finding,
            text: "web_latency is 1.25 s, expected 0.05 to 0.5".to_owned(),
        }],
        cites: vec!["e1".to_owned()],
        analyst: Analyst {
            took_ms: 1,
            why_rules: Some("ollama is not configured".to_owned()),
            ..Analyst::of(AnalystKind::Rules)
        },
        provenance: Provenance {
            source: "engine".to_owned(),
            by: "engine".to_owned(),
        },
        proposed_at: at,
        expires_at: at + 600_000,
        ..testing::solution(id.as_str(), "scale_up")
    });
    decision.opened_at = at - 5_000;
    decision.anomaly = Some(Anomaly {
        signal: "web_latency".to_owned(),
        direction: Direction::Above,
        score: 2.5,
        severity: 3.0,
        observed: Some(1.25),
        expected: Some(Range {
            low: Some(0.05),
            high: Some(0.5),
        }),
    });
    decision.action_digest = Some("00ff".to_owned());
    decision
}

/// Decision number `n` after these transitions.
pub fn in_state(n: i64, path: &[DecisionState]) -> Decision {
    let mut decision = proposed(n);
    walk(&mut decision, path);
    decision
}

/// Returns the decision of [`proposed`] after it was allowed, performed and verified.
pub fn done(n: i64) -> Decision {
    let allow = || GuardVerdict {
        verdict: Verdict::Allow,
        rule: "allow".to_owned(),
        reason: "nothing speaks against it".to_owned(),
    };
    let mut decision = in_state(n, &[DecisionState::Acting, DecisionState::Done]);
    let at = decision.decided_at;
    decision.guard = Some(allow());
    let id = OperationId::derive(&[decision.id.as_str(), "1"]);
    decision.operations = vec![OperationRecord {
        asked_at: at + 100,
        done_at: Some(at + 250),
        guard: Some(allow()),
        outcome: Some(Outcome {
            kind: OutcomeKind::Done,
            detail: json!({"replicas": 4}),
        }),
        before: Some(json!({"replicas": 2})),
        after: Some(json!({"replicas": 4})),
        ..testing::operation_record(id.as_str(), scale(web(), 4))
    }];
    decision.summary = Some("scaled from 2 to 4".to_owned());
    decision.verification = Some(Verification {
        outcome: VerificationOutcome::Improved,
        at: at + 30_000,
        samples: 12,
        reason: "median 0.21 is within 0.05 to 0.5".to_owned(),
        control: None,
    });
    decision
}

pub fn event(kind: DecisionEventKind, decision: Decision) -> DecisionEvent {
    DecisionEvent {
        kind,
        at: decision.decided_at,
        decision,
        input: None,
    }
}

pub fn incident(n: i64) -> Incident {
    let at = NOON + n * 60_000;
    let finding = Finding {
        id: FindingId::from("find-1"),
        labels: Labels::new([("pod", "web-1")]),
        detector_digest: "00ff".to_owned(),
        onset_at: at,
        at,
        score: 2.5,
        severity: 3.0,
        observed: Some(1.25),
        reason: "far above".to_owned(),
        ..testing::finding("web_latency")
    };
    let id = IncidentId::derive(&["test", &n.to_string()]);
    Incident {
        opened_at: at,
        changed_at: at,
        ..testing::incident(id.as_str(), vec![finding])
    }
}

/// A history in its own folder. The folder is removed with it.
pub struct Place {
    pub folder: TempDir,
    pub history: History,
}

impl Place {
    pub async fn new() -> Self {
        Self::with(HistoryOptions::default()).await
    }

    pub async fn with(options: HistoryOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join(FILE_NAME), options, &Metrics::default())
            .await
            .unwrap();
        Self { folder, history }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join(FILE_NAME)
    }

    /// Closes the history and opens it again.
    pub async fn reopen(&mut self, options: HistoryOptions) {
        self.history.close().await;
        self.history = History::open(&self.file(), options, &Metrics::default())
            .await
            .unwrap();
    }

    /// Returns a page of all decisions, and the place of the next page.
    pub async fn page(&self, page: Page) -> (Vec<Decision>, Option<i64>) {
        let all = Filter::default();
        self.history.decisions(&all, page).await.unwrap()
    }

    pub async fn record(&self, kind: DecisionEventKind, decision: Decision) -> i64 {
        self.history.record(event(kind, decision)).await.unwrap()
    }
}
