//! Tests of the demo as a visitor sees it: they run the program itself and judge it by its exit
//! code. They are a separate binary, because the demo takes place in real time and needs the
//! machine for itself.
#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect is to fail"
)]

mod ends;
mod kills;
mod program;

use parking_lot::{Mutex, MutexGuard};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anomalyzer_testbed::shared;
use serde_json::Value;

use program::{Ended, Program, tail};

/// Time limits after which the embedded demo and, in `REAL`, the real demo are given up.
const EMBEDDED: Duration = Duration::from_secs(180);
const REAL: Duration = Duration::from_secs(600);
/// Duration of the demo that visitors are promised.
const SHOWN_WITHIN: Duration = Duration::from_secs(90);

/// Locks the stage, so that only one demo runs at a time.
fn stage() -> MutexGuard<'static, ()> {
    static STAGE: Mutex<()> = Mutex::new(());
    STAGE.lock()
}

fn demo(arguments: &[&str], environment: &[(&str, &str)], limit: Duration) -> Ended {
    let _stage = stage();
    let data_dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_anomalyzer"));
    command
        .args(["demo", "--exit-when-done", "--output", "json", "--data-dir"])
        .arg(data_dir.path());
    Program::start(command.args(arguments).envs(environment.iter().copied())).ended(limit)
}

#[track_caller]
fn succeeded(ended: &Ended) -> Vec<Value> {
    let acts: Vec<&str> = ended
        .lines
        .lines()
        .filter(|line| line.contains(r#""event":"act""#))
        .collect();
    assert!(
        ended.status.success(),
        "{}\n{acts:#?}\n{}\n{}",
        ended.status,
        tail(&ended.lines),
        ended.errors
    );
    ended
        .lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Returns the duration of the demo by the times of its events.
fn took(events: &[Value]) -> Duration {
    let at = |event: Option<&Value>| {
        event.unwrap()["at"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    (at(events.last()) - at(events.first())).try_into().unwrap()
}

fn good_acts(events: &[Value]) -> Vec<&str> {
    let acts = events
        .iter()
        .filter(|event| event["event"] == "act" && event["detail"]["good"] == true);
    acts.map(|event| event["detail"]["act"].as_str().unwrap())
        .collect()
}

#[test]
fn on_embedded_defaults_all_four_faults_come_out_as_they_should() {
    let events = succeeded(&demo(&[], &[], EMBEDDED));
    assert_eq!(
        good_acts(&events),
        ["surge", "leak", "blip", "mute", "hands"]
    );
    assert!(took(&events) < SHOWN_WITHIN, "it took {:?}", took(&events));
}

#[test]
fn on_the_real_parts_all_four_faults_come_out_as_they_should() {
    const NAME: &str = "on_the_real_parts_all_four_faults_come_out_as_they_should";
    let servers = (
        shared::kafka(NAME),
        shared::prometheus(NAME),
        shared::ollama(NAME),
        shared::kubernetes(NAME),
    );
    let (Some(kafka), Some(prometheus), Some(ollama), Some(kubernetes)) = servers else {
        return;
    };
    let manifest: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/demo/shop.yaml");
    let kubectl = |arguments: &[&str]| {
        let run = Command::new(&kubernetes.kubectl)
            .env("KUBECONFIG", &kubernetes.kubeconfig)
            .args(arguments)
            .output();
        let output = run.unwrap();
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    kubectl(&["apply", "--filename", manifest.to_str().unwrap()]);
    kubectl(&[
        "--namespace",
        "demo",
        "rollout",
        "status",
        "deployment/shop",
        "--timeout=60s",
    ]);
    let output = demo(
        &["--real"],
        &[
            ("KAFKA_BROKERS", &kafka.brokers),
            ("PROMETHEUS_URL", &prometheus.url),
            ("OLLAMA_HOST", &ollama.url),
            ("OLLAMA_MODEL", &ollama.model),
            ("KUBECONFIG", kubernetes.kubeconfig.to_str().unwrap()),
            ("DEMO_SD_URL", &kubernetes.discovery_url),
        ],
        REAL,
    );
    let events = succeeded(&output);
    assert_eq!(good_acts(&events), ["surge", "leak", "blip", "mute"]);

    // The evidence of the action comes from the real services.
    let scaled = events.iter().find(|event| {
        event["event"] == "decision_ended" && event["detail"]["solution"] == "scale_up"
    });
    let decision = &scaled.unwrap()["detail"];
    let evidence: Vec<(&str, &str)> = decision["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["kind"].as_str().unwrap(), one["text"].as_str().unwrap()))
        .collect();
    assert!(
        evidence
            .iter()
            .any(|(kind, text)| *kind == "query" && text.contains("histogram_quantile")),
        "{evidence:?}"
    );
    assert!(
        evidence
            .iter()
            .any(|(kind, text)| *kind == "snapshot" && text.contains("demo/Deployment/shop")),
        "{evidence:?}"
    );
    assert!(
        decision["analyst"]["raw_answer"].is_string(),
        "{}",
        decision["analyst"]
    );
    assert!(
        decision["analyst"]["digest"].is_string(),
        "{}",
        decision["analyst"]
    );
}
