//! Speed and memory of a detector on this machine. They are figures, not checks, because they
//! depend on the load of the machine.

use std::time::{Duration, Instant};

use super::bench::Bench;
use super::series::{BEGIN, EVERY_MS, calm};
use crate::report::{Failure, Report};
use anomalyzer_domain::Labels;
use anomalyzer_plugin_host::{DetectorInstance, Frame};

/// Number of rounds of a measurement. The quickest round counts, because the slower ones also
/// measure other processes.
const ROUNDS: usize = 5;
const SERIES: u32 = 16;
const BATCH: usize = 4096;
const SINGLES: usize = 512;

const MANY: u32 = 2000;
/// Number of samples of each series. It is larger than most windows.
const EACH: usize = 64;

type Measure = fn(&Bench, usize) -> Result<f64, Failure>;

pub(super) fn measure(bench: &Bench, report: &mut Report) {
    let before = bench.memory();
    let begun = Instant::now();
    let Ok(monitor) = bench.open() else { return };
    report.figure(
        "opening an instance",
        begun.elapsed().as_secs_f64() * 1e3,
        "ms",
    );
    report.figure(
        "memory of an instance",
        (bench.memory() - before) as f64 / 1024.0,
        "KiB",
    );
    drop(monitor);
    let figures: [(&'static str, &'static str, Measure, usize); 3] = [
        ("a sample, one a call", "ns", samples, 1),
        ("a sample, 4096 a call", "ns", samples, BATCH),
        (
            "memory of a series, with 64 samples seen",
            "bytes",
            memory,
            0,
        ),
    ];
    for (name, unit, measure, batch) in figures {
        match measure(bench, batch) {
            Ok(value) => report.figure(name, value, unit),
            Err(failure) => report
                .notes
                .push(format!("not measured: {name}: {}", failure.found)),
        }
    }
}

/// Returns the nanoseconds per sample.
fn samples(bench: &Bench, batch: usize) -> Result<f64, Failure> {
    let mut feed = Feed::open(bench)?;
    // The first call fills the windows and warms up the code.
    feed.observe(BATCH)?;
    let calls = if batch == 1 { SINGLES } else { 1 };
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let mut spent = Duration::ZERO;
        for _ in 0..calls {
            spent += feed.observe(batch)?;
        }
        least = least.min(spent);
    }
    Ok(least.as_secs_f64() * 1e9 / (calls * batch) as f64)
}

/// One instance with an endless sequence of samples.
struct Feed {
    monitor: DetectorInstance,
    frame: Frame,
    values: Vec<f64>,
    seen: usize,
}

impl Feed {
    fn open(bench: &Bench) -> Result<Self, Failure> {
        let opened = (0..SERIES)
            .map(|id| (id, Labels::new([("case", "speed")])))
            .collect();
        Ok(Self {
            monitor: bench.open()?,
            frame: Frame {
                opened,
                ..Frame::default()
            },
            values: calm(30, 1 << 13),
            seen: 0,
        })
    }

    /// Returns the duration of the call, without the construction of the frame.
    fn observe(&mut self, samples: usize) -> Result<Duration, Failure> {
        for _ in 0..samples {
            let at = BEGIN + (self.seen / SERIES as usize) as i64 * EVERY_MS;
            self.frame.push(
                (self.seen % SERIES as usize) as u32,
                at,
                self.values[self.seen % self.values.len()],
            );
            self.frame.now = at;
            self.seen += 1;
        }
        let begun = Instant::now();
        let answer = self.monitor.observe(&self.frame, false);
        let spent = begun.elapsed();
        answer.map_err(|error| Failure::of(&error, format!("{samples} samples in a call")))?;
        self.frame.clear();
        Ok(spent)
    }
}

/// Returns the bytes of memory per series.
fn memory(bench: &Bench, _: usize) -> Result<f64, Failure> {
    let mut monitor = bench.open()?;
    let before = bench.memory();
    let values = calm(31, EACH * 7);
    let mut frame = Frame::default();
    frame
        .opened
        .extend((0..MANY).map(|id| (id, Labels::new([("pod".to_owned(), format!("web-{id}"))]))));
    for sample in 0..EACH {
        frame.now = BEGIN + sample as i64 * EVERY_MS;
        for id in 0..MANY {
            frame.push(
                id,
                frame.now,
                values[(sample * 7 + id as usize) % values.len()],
            );
        }
        monitor
            .observe(&frame, false)
            .map_err(|error| Failure::of(&error, format!("{MANY} series")))?;
        frame.clear();
    }
    Ok((bench.memory() - before) as f64 / f64::from(MANY))
}
