//! Tests of malicious plugins. The attacks in Rust are in `plugins/evil`. Attacks that need only a
//! single wrong instruction are written in WAT, in the tests of the plugin host.

mod actions;
mod bomb;
mod compiling;
mod detectors;
mod encoding;
mod memory;
mod neighbours;

use std::fs;
use std::time::Duration;

use anomalyzer_plugin_host::{DetectorHandle, Frame, Limits, PluginConfig, Plugins};
use serde_json::json;
use tempfile::TempDir;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/evil");

/// Cache of compiled code that all of these tests share, so that each plugin is compiled once.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/evil");

/// Maximum duration of a call.
const DEADLINE: Duration = Duration::from_millis(500);

/// Returns the bytes of the component `name` of `plugins/evil`.
fn component(name: &str) -> Vec<u8> {
    let path = format!("{FOLDER}/{name}.wasm");
    fs::read(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}; build it with `cargo xtask plugins`"))
}

/// Creates a plugin folder with the given files.
fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(format!("{name}.wasm")), bytes).unwrap();
    }
    folder
}

/// Loads the malicious detector on `threads` threads.
fn detector(threads: usize) -> Plugins {
    load(&[("detector", component("detector"))], threads)
}

fn load(files: &[(&str, Vec<u8>)], threads: usize) -> Plugins {
    let folder = folder(files);
    let limits = Limits {
        memory_bytes: 8 << 20,
        call_deadline: DEADLINE,
        describe_deadline: DEADLINE,
        threads,
        ..Limits::default()
    };
    let config = PluginConfig {
        folder: folder.path().to_owned(),
        cache: Some(CACHE.into()),
        limits,
        ..PluginConfig::default()
    };
    Plugins::load(config).unwrap()
}

async fn begin(plugins: &Plugins, attack: &str) -> DetectorHandle {
    plugins
        .detector("evil-detector", &json!(attack))
        .await
        .unwrap()
}

/// Builds a frame with `samples` samples of one series.
fn frame(samples: u32) -> Frame {
    let mut frame = Frame::default();
    for sample in 0..samples {
        frame.push(0, i64::from(sample), 1.0);
    }
    frame
}

/// Returns the number of samples that a well-behaved neighbour has seen, including the sample of
/// this call.
async fn seen(neighbour: &DetectorHandle) -> f64 {
    neighbour.observe(frame(1), false).await.unwrap().findings[0].score
}
