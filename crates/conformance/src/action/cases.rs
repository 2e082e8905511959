//! Incidents for the trials of actions.

use serde_json::{Value, json};

use anomalyzer_domain::{
    Direction, Finding, FindingId, Labels, Meaning, Phase, PodSummary, Range, Replicas, Snapshot,
    Target, UnixMs,
};
use anomalyzer_plugin_host::ActionIncident;

/// The time 2026-01-01T00:00:00Z.
const ONSET: UnixMs = 1_767_225_600_000;

/// Returns an incident of high latency on a target of the given kind with two replicas. It is built
/// from the host's own types, so that it has the shape of a real one.
pub(super) fn usual(kind: &str) -> ActionIncident {
    let web = Target::new("shop", kind, "web");
    let pod = |name: &str, restarts| PodSummary {
        name: name.to_owned(),
        phase: "Running".to_owned(),
        ready: true,
        restarts,
        reason: (restarts > 0).then(|| "OOMKilled".to_owned()),
    };
    let snapshot = Snapshot {
        target: web.clone(),
        at: ONSET,
        version: "uid-1/7".to_owned(),
        replicas: Some(Replicas {
            desired: 2,
            ready: 2,
        }),
        rolling_out: false,
        autoscaler: None,
        managed_by: Vec::new(),
        last_operation: None,
        changed_by: None,
        pods: vec![pod("web-1", 0), pod("web-2", 3)],
        events: vec!["BackOff: restarting web-2".to_owned()],
        raw: json!({"spec": {"replicas": 2}}),
    };
    ActionIncident {
        id: "inc-0123456789abcdef".to_owned(),
        target: Some(web),
        snapshot: json!(snapshot),
        findings: json!([finding()]),
        diagnosis: json!({
            "explanation": "traffic has grown, and latency with it",
            "confidence": 0.7,
            "evidence": [{"id": "e1", "kind": "finding", "text": "latency_p90 is 1.2"}],
            "alternatives": [],
        }),
    }
}

fn finding() -> Finding {
    Finding {
        id: FindingId::derive(&["conformance"]),
        signal: "latency_p90".to_owned(),
        meaning: Meaning::Latency,
        labels: Labels::new([("pod", "web-1")]),
        detector: "zscore".to_owned(),
        detector_digest: String::new(),
        onset_at: ONSET,
        at: ONSET,
        phase: Phase::Onset,
        direction: Direction::Above,
        score: 4.2,
        severity: 4.2,
        observed: Some(1.2),
        expected: Some(Range {
            low: None,
            high: Some(0.4),
        }),
        reason: "1.2 is 6.3 standard deviations above the mean 0.2".to_owned(),
    }
}

/// Returns the unusual incidents, each odd in one way.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) fn odd(kind: &str) -> Vec<(&'static str, ActionIncident)> {
    let usual = || usual(kind);
    let web = || Target::new("shop", kind, "web");
    let snapshot = |value: Value| ActionIncident {
        snapshot: value,
        ..usual()
    };
    let with = |key: &str, value: Value| {
        let mut changed = usual().snapshot;
        changed[key] = value;
        snapshot(changed)
    };
    let findings = |value: Value| ActionIncident {
        findings: value,
        ..usual()
    };
    let diagnosis = |value: Value| ActionIncident {
        diagnosis: value,
        ..usual()
    };
    let target = |target| ActionIncident { target, ..usual() };
    let process = Target {
        namespace: String::new(),
        kind: "Process".to_owned(),
        ..web()
    };
    let text = "\u{1b}[31m \" \\ \n\0 <script> ${x} ".repeat(500);
    vec![
        ("no target", target(None)),
        ("a target that is a process", target(Some(process))),
        (
            "a target of an unknown kind",
            target(Some(Target {
                kind: "Rollout.argoproj.io".to_owned(),
                ..web()
            })),
        ),
        (
            "a target with a name of 253 bytes",
            target(Some(Target {
                name: "x".repeat(253),
                ..web()
            })),
        ),
        (
            "a person's request: nothing but a target",
            ActionIncident {
                snapshot: Value::Null,
                findings: json!([]),
                diagnosis: Value::Null,
                ..usual()
            },
        ),
        ("the snapshot is null", snapshot(Value::Null)),
        ("the snapshot is empty", snapshot(json!({}))),
        ("the snapshot is a list", snapshot(json!([]))),
        (
            "the snapshot's replicas are null",
            with("replicas", Value::Null),
        ),
        (
            "the snapshot's replicas are empty",
            with("replicas", json!({})),
        ),
        (
            "no replicas",
            with("replicas", json!({"desired": 0, "ready": 0})),
        ),
        (
            "as many replicas as there can be",
            with("replicas", json!({"desired": u32::MAX, "ready": u32::MAX})),
        ),
        (
            "more replicas than there can be",
            with("replicas", json!({"desired": 1e300, "ready": -1})),
        ),
        ("replicas that are text", with("replicas", json!("2"))),
        (
            "a thousand pods",
            with(
                "pods",
                vec![usual().snapshot["pods"][0].clone(); 1000].into(),
            ),
        ),
        (
            "pods of which nothing is known",
            with("pods", json!([{}, {}])),
        ),
        ("a key that is new", with("weather", json!("fine"))),
        ("no findings", findings(json!([]))),
        ("the findings are null", findings(Value::Null)),
        ("a finding of which nothing is known", findings(json!([{}]))),
        (
            "a thousand findings",
            findings(vec![json!(finding()); 1000].into()),
        ),
        ("the diagnosis is null", diagnosis(Value::Null)),
        ("the diagnosis is empty", diagnosis(json!({}))),
        (
            "a long diagnosis with control characters",
            diagnosis(json!({"explanation": text})),
        ),
    ]
}
