//! What it costs that nobody has to be trusted: containment, instances, many of them at once,
//! changes while running, and attackers beside. Needs `cargo xtask plugins`.

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

/// A file below `target`, where `cargo xtask plugins` puts them.
fn built(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")).join(path)
}

/// A folder with copies of these files, loaded. The folder is not looked at again.
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

/// Noise of three deviations at most stays calm: what a detector sees nearly all of the time.
fn calm() -> Value {
    json!({"spike": 4, "drop": 4})
}

/// Announces so many series.
fn opening(series: u32) -> Frame {
    let labels = |id: u32| Labels::new([("__name__", "latency"), ("pod", &format!("web-{id}"))]);
    Frame {
        opened: (0..series).map(|id| (id, labels(id))).collect(),
        ..Frame::default()
    }
}

/// One sample of each series.
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
