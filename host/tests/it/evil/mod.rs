//! Plugins that mean harm, and what becomes of them. Those in Rust are `plugins/evil`; what takes a
//! single wrong instruction is beside the plugin host, as WAT.

mod actions;
mod bomb;
mod compiling;
mod detectors;
mod memory;
mod neighbours;

use std::fs;
use std::time::Duration;

use anomalyzer_plugin_host::{DetectorHandle, Frame, Limits, PluginConfig, Plugins};
use serde_json::json;
use tempfile::TempDir;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/evil");

/// Compiled once for all of these tests.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/evil");

/// How long a call may take.
const DEADLINE: Duration = Duration::from_millis(500);

/// The bytes of one of `plugins/evil`.
fn component(name: &str) -> Vec<u8> {
    let path = format!("{FOLDER}/{name}.wasm");
    fs::read(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}; build it with `cargo xtask plugins`"))
}

/// A folder with these files.
fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(format!("{name}.wasm")), bytes).unwrap();
    }
    folder
}

/// The detector that means harm, on so many threads.
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

/// A frame of that many samples of one series.
fn frame(samples: u32) -> Frame {
    let mut frame = Frame::default();
    for sample in 0..samples {
        frame.push(0, i64::from(sample), 1.0);
    }
    frame
}

/// How many samples a well-behaved neighbour has seen, the one of this call included.
async fn seen(neighbour: &DetectorHandle) -> f64 {
    neighbour.observe(frame(1), false).await.unwrap().findings[0].score
}
