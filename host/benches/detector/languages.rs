//! Measures the cost of detectors in other languages next to one in Rust: size, compilation, start,
//! memory and time per sample. Needs `cargo xtask plugins --examples`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anomalyzer_plugin_host::{PluginConfig, Plugins};
use serde_json::{Value, json};

/// Number of instances that are opened; the median time counts.
const OPENED: usize = 11;
/// Maximum time for observing samples. `ROUNDS` is the maximum number of rounds; the quickest round
/// counts. The number is bounded because the JavaScript engine keeps some memory at each call, and
/// reaches its memory limit after about 35,000 calls.
const OBSERVED: Duration = Duration::from_secs(3);
const ROUNDS: usize = 300;

/// Language, file, name and settings of a detector.
type Measured = (&'static str, &'static str, &'static str, fn() -> Value);

/// Measured detectors: language, file below `target`, name, and settings that keep the noise of the
/// frames calm.
const DETECTORS: [Measured; 3] = [
    (
        "Rust",
        "plugins/zscore.wasm",
        "zscore",
        || json!({"spike": 4, "drop": 4}),
    ),
    (
        "JavaScript",
        "examples/javascript-detector.wasm",
        "javascript-range",
        || json!({"low": 90, "high": 110}),
    ),
    (
        "Python",
        "examples/python-detector.wasm",
        "python-range",
        || json!({"low": 90, "high": 110}),
    ),
];

/// Measures each detector, and prints a table.
pub fn measure() {
    println!(
        "\n{:<10}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}",
        "detector",
        "size",
        "compile",
        "load",
        "open",
        "memory",
        "at work",
        "ns/sample",
        "ns/sample"
    );
    println!(
        "{:<10}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}",
        "", "MiB", "", "cached", "", "MiB", "MiB", "1 a frame", "4096"
    );
    for (language, file, name, settings) in DETECTORS {
        let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")).join(file);
        if file.exists() {
            measure_one(language, &file, name, &settings());
        } else {
            println!(
                "NOT MEASURED: {language}, as there is no {}: cargo xtask plugins --examples",
                file.display()
            );
        }
    }
}

fn measure_one(language: &str, file: &Path, name: &str, settings: &Value) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(file, folder.path().join("detector.wasm")).expect("a copy");
    let load = || {
        let cache = Some(folder.path().join("compiled"));
        let began = Instant::now();
        let config = PluginConfig {
            folder: folder.path().to_owned(),
            cache,
            ..PluginConfig::default()
        };
        (
            Plugins::load(config).expect("plugins load"),
            began.elapsed(),
        )
    };
    let (_, compile) = load();
    let (plugins, cached) = load();
    let mut opened = (0..OPENED)
        .map(|_| {
            let began = Instant::now();
            let monitor = plugins.monitor(name, settings).expect("it opens");
            let took = began.elapsed();
            drop(monitor);
            took
        })
        .collect::<Vec<_>>();
    opened.sort_unstable();
    let mut monitor = plugins.monitor(name, settings).expect("it opens");
    let idle = plugins.health().memory_bytes;
    monitor
        .observe(&super::opening(), false)
        .expect("series open");
    let [one, many] = [1, 4096].map(|batch| {
        let mut frames = super::frames(batch);
        let began = Instant::now();
        let mut quickest = f64::INFINITY;
        for _ in 0..ROUNDS {
            if began.elapsed() > OBSERVED {
                break;
            }
            let observe = |frame: &_| {
                monitor
                    .observe(frame, false)
                    .expect("a verdict")
                    .findings
                    .len()
            };
            let took = super::timed(1, &mut frames, observe, super::later);
            quickest = quickest.min(took.as_nanos() as f64 / (frames.len() * batch) as f64);
        }
        quickest
    });
    println!(
        "{language:<10}  {:>9.1}  {compile:>9.2?}  {cached:>9.2?}  {:>9.2?}  {:>9.1}  {:>9.1}  {one:>9.0}  {many:>9.1}",
        mebibytes(fs::metadata(file).expect("it is there").len()),
        opened[OPENED / 2],
        mebibytes(idle),
        mebibytes(plugins.health().memory_bytes),
    );
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
