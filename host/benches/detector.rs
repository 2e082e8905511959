//! Measures the cost of a detector as a plugin: `zscore` in WebAssembly against the same code run
//! natively. Both run in one process, so that the ratios hold on any machine. Then measures the
//! cost of detectors in other languages. `cargo xtask bench` builds the required plugins.

#[path = "detector/languages.rs"]
mod languages;
#[path = "detector/shipped.rs"]
mod shipped;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anomalyzer_domain::Labels;
use anomalyzer_plugin_host::{Frame, PluginConfig, Plugins, Saved};
use anomalyzer_plugin_sdk::bindings::detector::exports::anomalyzer::plugin::detector::Series;
use anomalyzer_plugin_sdk::{Frame as NativeFrame, Watch};
use anomalyzer_zscore::ZScore;
use criterion::{Criterion, Throughput};
use serde_json::json;

/// Number of series that take turns in the frames.
const SERIES: u32 = 1000;
/// Number of frames between two readings of the clock.
const FRAMES: usize = 32;

/// Labels of the ways to run the detector.
const NATIVE: &str = "native";
const WASM: &str = "wasm";
const WASM_ANY_NAN: &str = "wasm, NaNs as they come";
const WASM_SIMD: &str = "wasm, with simd128";
const WORKER: &str = "wasm, through a worker's queue";

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut best = Best::default();
    // Noise of at most three deviations stays calm, as nearly all samples do in practice.
    let settings = json!({"spike": 4, "drop": 4});
    let canonical = load("plugins", true);
    let any_nan = load("plugins", false);
    let simd = load("bench", true);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    for batch in [1, 16, 256, 4096] {
        let mut native =
            Watch::<ZScore>::open(&settings.to_string()).expect("the settings are good");
        native
            .observe(&native_of(&opening()), false)
            .expect("series open");
        let mut frames: Vec<NativeFrame> = frames(batch).iter().map(native_of).collect();
        measure(&mut criterion, &mut best, NATIVE, batch, |iterations| {
            timed(
                iterations,
                &mut frames,
                |frame| {
                    native
                        .observe(frame, false)
                        .expect("a verdict")
                        .findings
                        .len()
                },
                later_native,
            )
        });

        for (how, plugins) in [
            (WASM, &canonical),
            (WASM_ANY_NAN, &any_nan),
            (WASM_SIMD, &simd),
        ] {
            let mut monitor = plugins
                .monitor("zscore", &settings)
                .expect("zscore is built");
            monitor.observe(&opening(), false).expect("series open");
            let mut frames = self::frames(batch);
            measure(&mut criterion, &mut best, how, batch, |iterations| {
                timed(
                    iterations,
                    &mut frames,
                    |frame| {
                        monitor
                            .observe(frame, false)
                            .expect("a verdict")
                            .findings
                            .len()
                    },
                    later,
                )
            });
        }

        let handle = runtime
            .block_on(canonical.detector("zscore", &settings))
            .expect("zscore is built");
        runtime
            .block_on(handle.observe(opening(), false))
            .expect("series open");
        let mut frames = self::frames(batch);
        measure(&mut criterion, &mut best, WORKER, batch, |iterations| {
            timed(
                iterations,
                &mut frames,
                |frame| {
                    runtime
                        .block_on(handle.observe(frame.clone(), false))
                        .expect("a verdict")
                        .findings
                        .len()
                },
                later,
            )
        });
    }
    let memory = memory(&mut criterion, &canonical, &settings);
    criterion.final_summary();
    best.print();
    memory.print();
    shipped::measure(&canonical);
    languages::measure();
}

/// Cost of saving and restoring one series with a full window.
#[derive(Default)]
struct Memory {
    bytes: usize,
    /// Shortest measured time to save one series, in nanoseconds.
    save: f64,
    restore: f64,
}

impl Memory {
    fn print(&self) {
        let Self {
            bytes,
            save,
            restore,
        } = self;
        println!(
            "\n{:>14}  {:>14}  {:>14}",
            "bytes/series", "save, ns", "restore, ns"
        );
        println!("{bytes:>14}  {save:>14.0}  {restore:>14.0}");
    }
}

fn memory(criterion: &mut Criterion, plugins: &Plugins, settings: &serde_json::Value) -> Memory {
    let mut monitor = plugins
        .monitor("zscore", settings)
        .expect("zscore is built");
    monitor.observe(&opening(), false).expect("series open");
    for frame in frames(4096) {
        monitor.observe(&frame, false).expect("a verdict");
    }
    let ids: Vec<u32> = (0..SERIES).collect();
    let mut all = Vec::new();
    let mut group = criterion.benchmark_group("zscore, memory of a series");
    group.throughput(Throughput::Elements(u64::from(SERIES)));
    let mut memory = Memory {
        save: f64::INFINITY,
        restore: f64::INFINITY,
        ..Memory::default()
    };
    let per_series =
        |took: Duration, rounds: u64| took.as_nanos() as f64 / (rounds * u64::from(SERIES)) as f64;
    group.bench_function("save", |bencher| {
        bencher.iter_custom(|rounds| {
            let start = Instant::now();
            for _ in 0..rounds {
                all.clear();
                all.extend(ids.iter().map(|id| {
                    monitor
                        .save(Some(*id))
                        .expect("it saves")
                        .expect("it is stateful")
                }));
            }
            let took = start.elapsed();
            memory.save = memory.save.min(per_series(took, rounds));
            took
        });
    });
    let saved: Vec<Saved> = opening()
        .opened
        .into_iter()
        .zip(all)
        .map(|(of, bytes)| Saved {
            of: Some(of),
            from_version: "0.1.0".to_owned(),
            bytes,
        })
        .collect();
    memory.bytes = saved.iter().map(|saved| saved.bytes.len()).sum::<usize>() / saved.len().max(1);
    let mut monitor = plugins
        .monitor("zscore", settings)
        .expect("zscore is built");
    group.bench_function("restore", |bencher| {
        bencher.iter_custom(|rounds| {
            let start = Instant::now();
            for _ in 0..rounds {
                for saved in &saved {
                    monitor.restore(saved).expect("it is restored");
                }
            }
            let took = start.elapsed();
            memory.restore = memory.restore.min(per_series(took, rounds));
            took
        });
    });
    group.finish();
    memory
}

/// Loads the plugins from a folder of `target`: `plugins`, or `bench` for plugins built with vector
/// instructions.
fn load(folder: &str, canonical_nan: bool) -> Plugins {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")).join(folder);
    Plugins::load(PluginConfig {
        folder,
        canonical_nan,
        ..PluginConfig::default()
    })
    .expect("plugins load")
}

/// Shortest measured time per sample in nanoseconds, by size of the frame and way to run. The
/// shortest time shows the machine's speed without disturbances.
#[derive(Default)]
struct Best(BTreeMap<(usize, &'static str), f64>);

impl Best {
    fn print(&self) {
        println!(
            "\n{:>6}  {:<32} {:>10}  against native",
            "batch", "zscore", "ns/sample"
        );
        for ((batch, how), nanoseconds) in &self.0 {
            let ratio = self
                .0
                .get(&(*batch, NATIVE))
                .map_or(f64::NAN, |native| nanoseconds / native);
            println!("{batch:>6}  {how:<32} {nanoseconds:>10.2}  {ratio:>14.2}");
        }
    }
}

fn measure(
    criterion: &mut Criterion,
    best: &mut Best,
    how: &'static str,
    batch: usize,
    mut run: impl FnMut(u64) -> Duration,
) {
    let mut group = criterion.benchmark_group(format!("zscore, {batch} a frame"));
    group.throughput(Throughput::Elements((FRAMES * batch) as u64));
    group.bench_function(how, |bencher| {
        bencher.iter_custom(|iterations| {
            let took = run(iterations);
            let per_sample = took.as_nanos() as f64 / (iterations as f64 * (FRAMES * batch) as f64);
            let least = best.0.entry((batch, how)).or_insert(f64::INFINITY);
            *least = least.min(per_sample);
            took
        });
    });
    group.finish();
}

/// Observes all frames `iterations` times, and returns the total time. Moving the frames ahead in
/// time by `later` between the iterations is not measured.
fn timed<F>(
    iterations: u64,
    frames: &mut [F],
    mut observe: impl FnMut(&F) -> usize,
    later: impl Fn(&mut F),
) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..iterations {
        let start = Instant::now();
        for frame in frames.iter() {
            std::hint::black_box(observe(std::hint::black_box(frame)));
        }
        took += start.elapsed();
        frames.iter_mut().for_each(&later);
    }
    took
}

/// Returns a frame that announces the series.
fn opening() -> Frame {
    let labels = |id: u32| Labels::new([("__name__", "latency"), ("pod", &format!("web-{id}"))]);
    Frame {
        opened: (0..SERIES).map(|id| (id, labels(id))).collect(),
        ..Frame::default()
    }
}

/// Returns frames of `batch` samples each, with noise around 100.
fn frames(batch: usize) -> Vec<Frame> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = move || {
        // Marsaglia, "Xorshift RNGs" (2003).
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut sample = 0_u32;
    let mut frame = || {
        let mut frame = Frame::default();
        for _ in 0..batch {
            let at = i64::from(sample / SERIES) * 1000;
            frame.push(
                sample % SERIES,
                at,
                100.0 + uniform() + uniform() + uniform(),
            );
            frame.now = at;
            sample += 1;
        }
        frame
    };
    (0..FRAMES).map(|_| frame()).collect()
}

/// Step by which frames move ahead in time, in milliseconds. It is longer than the span of all
/// frames together.
const LATER_MS: i64 = 1_000_000;

fn later(frame: &mut Frame) {
    frame.now += LATER_MS;
    frame.at.iter_mut().for_each(|at| *at += LATER_MS);
}

fn later_native(frame: &mut NativeFrame) {
    frame.now += LATER_MS;
    frame.at.iter_mut().for_each(|at| *at += LATER_MS);
}

fn native_of(frame: &Frame) -> NativeFrame {
    let pairs = |labels: &Labels| {
        labels
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    NativeFrame {
        now: frame.now,
        opened: frame
            .opened
            .iter()
            .map(|(id, labels)| Series {
                id: *id,
                labels: pairs(labels),
            })
            .collect(),
        closed: frame.closed.clone(),
        ids: frame.ids.clone(),
        at: frame.at.clone(),
        values: frame.values.clone(),
    }
}
