//! Sample values of the vocabulary, for the tests of all crates.
//!
//! Each function returns the plainest value of its type. A test states the fields that matter to it
//! with the struct update syntax: `Finding { severity: 4.0, ..testing::finding("latency") }`.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Analyst, AnalystKind, Coverage, Decision, DecisionState, Delivery, Direction, Finding,
    FindingId, Incident, Labels, Meaning, MetricBatch, Operation, OperationRecord, PROCESS_KIND,
    Parameters, Phase, Provenance, Record, Sample, Series, Solution, Target, Topic, UnixMs,
};

/// Returns the target `default/shop/Deployment/web`.
pub fn web() -> Target {
    Target::new("shop", "Deployment", "web")
}

/// Returns the target `default//Process/web`.
pub fn web_process() -> Target {
    Target::new("", PROCESS_KIND, "web")
}

/// Returns the operation that scales a target.
pub fn scale(target: Target, replicas: u32) -> Operation {
    Operation::Scale { target, replicas }
}

/// Returns the coverage of `asked` sources, of which `answered` answered and the others failed.
pub fn coverage(asked: u32, answered: u32) -> Coverage {
    Coverage {
        asked,
        answered,
        failed: asked - answered,
    }
}

/// Returns a series without labels.
pub fn series(samples: Vec<Sample>) -> Series {
    Series {
        labels: Labels::default(),
        samples,
    }
}

/// Returns a batch of [`web`] with one sample of a series named after the signal. Its only source
/// answered.
pub fn batch(signal: &str, at: UnixMs, value: f64) -> MetricBatch {
    MetricBatch {
        signal: signal.to_owned(),
        target: Some(web()),
        observed_at: at,
        coverage: coverage(1, 1),
        series: vec![Series {
            labels: Labels::new([("__name__", signal)]),
            samples: vec![Sample { at, value }],
        }],
        foreign: false,
    }
}

/// Returns a batch without target, samples and sources, observed at time 0.
pub fn empty_batch(signal: &str) -> MetricBatch {
    MetricBatch {
        signal: signal.to_owned(),
        target: None,
        observed_at: 0,
        coverage: Coverage::default(),
        series: vec![],
        foreign: false,
    }
}

/// Returns the onset of a high latency at time 0, with twice the score of the threshold.
pub fn finding(signal: &str) -> Finding {
    Finding {
        id: FindingId::derive(&[signal]),
        signal: signal.to_owned(),
        meaning: Meaning::Latency,
        labels: Labels::default(),
        detector: "zscore".to_owned(),
        detector_digest: String::new(),
        onset_at: 0,
        at: 0,
        phase: Phase::Onset,
        direction: Direction::Above,
        score: 2.0,
        severity: 2.0,
        observed: None,
        expected: None,
        reason: String::new(),
    }
}

/// Returns an incident of [`web`] that opened at time 0 and is open. Its only source answered.
pub fn incident(id: &str, findings: Vec<Finding>) -> Incident {
    Incident {
        id: id.into(),
        target: web(),
        opened_at: 0,
        changed_at: 0,
        cleared_at: None,
        findings,
        coverage: coverage(1, 1),
        samples: vec![],
        foreign: false,
    }
}

/// Returns a solution that the rules propose at time 0 for no incident and no target. It expires
/// after a minute.
pub fn solution(id: &str, solution_type: &str) -> Solution {
    Solution {
        anomaly_type: "latency_above".to_owned(),
        solution_type: solution_type.to_owned(),
        explanation: "because".to_owned(),
        id: id.to_owned(),
        incident: None,
        target: None,
        parameters: Parameters::new(),
        confidence: 0.5,
        evidence: vec![],
        cites: vec![],
        alternatives: vec![],
        analyst: Analyst::of(AnalystKind::Rules),
        provenance: Provenance {
            source: Provenance::ENGINE.to_owned(),
            by: "analyst".to_owned(),
        },
        attempt: 0,
        proposed_at: 0,
        expires_at: 60_000,
        basis: None,
    }
}

/// Takes the decision through these states.
///
/// # Panics
/// Panics if a transition is invalid.
pub fn walk(decision: &mut Decision, path: &[DecisionState]) {
    for next in path {
        decision
            .transition(*next)
            .expect("the path consists of valid transitions");
    }
}

/// Returns the record of an operation that was requested at time 0 and has no outcome.
pub fn operation_record(id: &str, operation: Operation) -> OperationRecord {
    OperationRecord {
        id: id.into(),
        kind: operation.kind().to_owned(),
        target: operation.target().cloned(),
        operation,
        asked_at: 0,
        done_at: None,
        guard: None,
        outcome: None,
        before: None,
        after: None,
        version: None,
        undoes: None,
        reverted_by: None,
    }
}

/// Returns the delivery of a message at the start of a topic.
pub fn delivery(topic: Topic, record: Record) -> Delivery {
    Delivery {
        topic,
        partition: 0,
        offset: 0,
        published_at: None,
        record,
    }
}

/// Asserts that each of the `names` is the name of a value of `T`, in serde and in the text form.
///
/// # Panics
/// Panics if a name is unknown, or if the two forms differ.
pub fn assert_names<T>(names: &[&'static str])
where
    T: Copy + Serialize + DeserializeOwned + Into<&'static str>,
{
    for name in names {
        let value: T = serde_json::from_value(Value::from(*name)).expect(name);
        assert_eq!(value.into(), *name);
        assert_eq!(serde_json::to_value(value).expect(name), *name);
    }
}
