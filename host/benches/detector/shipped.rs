//! Measures the shipped detectors with frames of 4,096 samples: the time per sample in WebAssembly
//! against the same code run natively, and the saved bytes per series.

use std::hint::black_box;
use std::time::Instant;

use anomalyzer_plugin_host::Plugins;
use anomalyzer_plugin_sdk::Watch;
use serde_json::json;

use super::{SERIES, frames, later, later_native, native_of, opening};

/// Number of samples in a frame.
const BATCH: usize = 4096;
/// Number of rounds in which all frames are observed; the quickest round counts.
const ROUNDS: usize = 12;

macro_rules! native {
    ($detector:ty) => {{
        let mut native = Watch::<$detector>::open("{}").expect("the defaults are good");
        native
            .observe(&native_of(&opening()), false)
            .expect("series open");
        let mut frames: Vec<_> = frames(BATCH).iter().map(native_of).collect();
        quickest(|| {
            let start = Instant::now();
            for frame in &frames {
                black_box(
                    native
                        .observe(black_box(frame), false)
                        .expect("a verdict")
                        .findings
                        .len(),
                );
            }
            let took = start.elapsed().as_nanos() as f64;
            frames.iter_mut().for_each(later_native);
            took / (frames.len() * BATCH) as f64
        })
    }};
}

/// Measures the detectors, and prints a table.
pub fn measure(plugins: &Plugins) {
    println!(
        "\n{:<12} {:>14} {:>14} {:>14} {:>14}",
        "detector", "wasm, ns", "native, ns", "against native", "bytes/series"
    );
    for (name, native) in [
        ("novelty", native!(anomalyzer_novelty::Novelty)),
        ("spike", native!(anomalyzer_spike::Spike)),
        ("drop", native!(anomalyzer_drop::Drop)),
        ("error-rate", native!(anomalyzer_error_rate::ErrorRate)),
        ("zscore", native!(anomalyzer_zscore::ZScore)),
    ] {
        let mut monitor = plugins.monitor(name, &json!({})).expect("it is built");
        monitor.observe(&opening(), false).expect("series open");
        let mut frames = frames(BATCH);
        let wasm = quickest(|| {
            let start = Instant::now();
            for frame in &frames {
                black_box(
                    monitor
                        .observe(black_box(frame), false)
                        .expect("a verdict")
                        .findings
                        .len(),
                );
            }
            let took = start.elapsed().as_nanos() as f64;
            frames.iter_mut().for_each(later);
            took / (frames.len() * BATCH) as f64
        });
        let saved = (0..SERIES).map(|id| {
            monitor
                .save(Some(id))
                .expect("it saves")
                .map_or(0, |saved| saved.len())
        });
        let bytes = saved.sum::<usize>() / SERIES as usize;
        println!(
            "{name:<12} {wasm:>14.1} {native:>14.1} {:>14.2} {bytes:>14}",
            wasm / native
        );
    }
}

fn quickest(mut once: impl FnMut() -> f64) -> f64 {
    (0..ROUNDS).map(|_| once()).fold(f64::INFINITY, f64::min)
}
