//! Plugins in a folder of their own, and the input of their calls.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use anomalyzer_domain::{Labels, Target};
use anomalyzer_plugin_host::{
    ActionIncident, DetectorHandle, Frame, Limits, PluginConfig, Plugins,
};
use anomalyzer_test_support::guest::{Detector, mood};

/// Makes a folder with `files`, and its configuration. Calls may take 400 ms.
pub fn folder(files: &[(&str, Vec<u8>)]) -> (TempDir, PluginConfig) {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let limits = Limits {
        call_deadline: Duration::from_millis(400),
        memory_bytes: 8 << 20,
        max_component_bytes: 1 << 20,
        threads: 2,
        ..Limits::default()
    };
    let config = PluginConfig {
        folder: dir.path().to_owned(),
        limits,
        ..PluginConfig::default()
    };
    (dir, config)
}

/// Loads the plugins of a folder with `files`.
pub fn load(files: &[(&str, Vec<u8>)]) -> Plugins {
    let (_dir, config) = folder(files);
    Plugins::load(config).unwrap()
}

/// Loads a detector that behaves as the first value of a frame says.
pub fn moody() -> Plugins {
    load(&[("moody.wasm", Detector::default().build())])
}

/// Makes a frame that opens one series, with one sample of it that selects a behaviour.
pub fn frame(mood: f64) -> Frame {
    let mut frame = Frame::default();
    frame
        .opened
        .push((7, Labels::new([("__name__", "latency"), ("pod", "a")])));
    frame.push(7, 1_000, mood);
    frame
}

/// Opens the moody detector.
pub async fn open(plugins: &Plugins) -> DetectorHandle {
    plugins.detector("moody", &json!({})).await.unwrap()
}

/// Returns the number of frames that the instance has seen, including this frame.
pub async fn seen(handle: &DetectorHandle) -> f64 {
    handle
        .observe(frame(mood::GOOD), false)
        .await
        .unwrap()
        .findings[0]
        .score
}

/// Makes an incident to show to an action.
pub fn incident() -> ActionIncident {
    ActionIncident {
        id: "inc-1".to_owned(),
        target: Some(Target::new("shop", "Deployment", "web")),
        snapshot: json!({}),
        findings: json!([]),
        diagnosis: json!({}),
    }
}
