//! Measures the cost of not trusting plugins: containment, instances, many instances at once,
//! changes at run time, and attackers beside good plugins. Needs `cargo xtask plugins`.

#[path = "plugins/attacked.rs"]
mod attacked;
#[path = "plugins/containment.rs"]
mod containment;
#[path = "plugins/crowd.rs"]
mod crowd;
#[path = "plugins/live.rs"]
mod live;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anomalyzer_domain::Labels;
use anomalyzer_plugin_host::{Frame, PluginConfig, Plugins};
use serde_json::{Value, json};

/// Returns the path of a file below `target`, where `cargo xtask plugins` puts its output.
fn built(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")).join(path)
}

/// Copies the given files into a folder and loads them. Nothing reads the folder again.
fn load(files: &[&str], change: impl FnOnce(&mut PluginConfig)) -> anyhow::Result<Plugins> {
    let folder = tempfile::tempdir()?;
    for file in files {
        let name = Path::new(file).file_name().unwrap_or_default();
        std::fs::copy(built(file), folder.path().join(name))?;
    }
    let mut config = PluginConfig {
        folder: folder.path().to_owned(),
        ..PluginConfig::default()
    };
    change(&mut config);
    Ok(Plugins::load(config)?)
}

/// Returns settings that keep noise of at most three deviations calm, as nearly all samples are in
/// practice.
fn calm() -> Value {
    json!({"spike": 4, "drop": 4})
}

/// Returns a frame that announces `series` series.
fn opening(series: u32) -> Frame {
    let labels = |id: u32| Labels::new([("__name__", "latency"), ("pod", &format!("web-{id}"))]);
    Frame {
        opened: (0..series).map(|id| (id, labels(id))).collect(),
        ..Frame::default()
    }
}

/// Returns a frame with one sample of each series.
fn round(series: u32, at: i64) -> Frame {
    let mut frame = Frame {
        now: at,
        ..Frame::default()
    };
    for id in 0..series {
        frame.push(
            id,
            at,
            100.0 + fastrand::f64() + fastrand::f64() + fastrand::f64(),
        );
    }
    frame
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() / 2]
}

fn timed<R>(run: impl FnOnce() -> R) -> (Duration, R) {
    let begun = Instant::now();
    let returned = run();
    (begun.elapsed(), returned)
}

fn main() -> anyhow::Result<()> {
    containment::measure()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(crowd::measure())?;
    runtime.block_on(live::measure())?;
    runtime.block_on(attacked::measure())
}
