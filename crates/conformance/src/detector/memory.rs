//! Leak checks: memory may grow with the number of open series, not with the number of seen
//! samples.

use super::bench::Bench;
use super::series::{BEGIN, seasonal};
use crate::report::Failure;
use anomalyzer_domain::Labels;
use anomalyzer_plugin_host::{DetectorInstance, Frame};

/// Tolerated growth in bytes. Linear memory grows by 64 KiB, and an allocator takes a few of those
/// steps at a time.
const GRAIN: u64 = 256 << 10;

const FRAME: usize = 4000;
/// Time between two samples: one minute. The first stretch then covers three weeks of each series,
/// so that a memory of the days of the week is full.
const EVERY_MS: i64 = 60_000;
const STRETCH: usize = 60_000;

/// Checks memory over two further stretches after the first one. A detector that needs more memory
/// in each of them leaks.
pub(super) fn of_samples(bench: &Bench) -> Result<(), Failure> {
    let mut monitor = bench.open()?;
    let mut values = seasonal(20, STRETCH * 3 / 2, 1440).into_iter();
    let mut frame = Frame {
        opened: vec![series(0), series(1)],
        ..Frame::default()
    };
    let mut at = BEGIN;
    let mut after = [0; 3];
    for memory in &mut after {
        let mut left = STRETCH;
        while left > 0 {
            for value in values.by_ref().take(FRAME / 2) {
                at += EVERY_MS;
                frame.push(0, at, value);
                frame.push(1, at, value / 3.0);
            }
            left -= FRAME;
            observe(&mut monitor, &mut frame, at, "a long life of two series")?;
        }
        *memory = bench.memory();
    }
    let [first, second, third] = after;
    if second > first && third > second && third - first > GRAIN {
        return Err(Failure::new(
            format!(
                "{first} bytes after {STRETCH} samples, {second} after twice, {third} after three times as many"
            ),
            "two series, a sample a minute",
            "keep a bounded memory of each series: a window, or figures that are updated",
        ));
    }
    Ok(())
}

const CYCLES: u32 = 20;
const AT_A_TIME: u32 = 500;
const SAMPLES: i64 = 8;
/// Tolerated memory of each id that was ever seen, in bytes. Ids are never reused, and a table over
/// them is quick.
const BYTES_AN_ID: u64 = 16;

/// Checks memory over cycles of opening and closing. The later half must need no more than the
/// earlier half.
pub(super) fn of_series(bench: &Bench) -> Result<(), Failure> {
    let mut monitor = bench.open()?;
    let mut at = BEGIN;
    let mut half = 0;
    for cycle in 0..CYCLES {
        let ids = cycle * AT_A_TIME..(cycle + 1) * AT_A_TIME;
        let mut frame = Frame {
            opened: ids.clone().map(series).collect(),
            ..Frame::default()
        };
        for sample in 0..SAMPLES {
            at += EVERY_MS;
            for id in ids.clone() {
                frame.push(id, at, f64::from(id % 7) + (sample % 3) as f64);
            }
            if sample == SAMPLES - 1 {
                frame.closed = ids.clone().collect();
            }
            observe(
                &mut monitor,
                &mut frame,
                at,
                &format!("{AT_A_TIME} series at a time, the {cycle}th time"),
            )?;
        }
        if cycle == CYCLES / 2 - 1 {
            half = bench.memory();
        }
    }
    let (end, more_ids) = (bench.memory(), u64::from(CYCLES / 2 * AT_A_TIME));
    if end > half + GRAIN + more_ids * BYTES_AN_ID {
        let found = format!(
            "{half} bytes after {more_ids} series that were all closed, {end} after twice as many"
        );
        let remedy = "drop what is kept of a series when `closed` names it";
        return Err(Failure::new(
            found,
            format!("{AT_A_TIME} series at a time"),
            remedy,
        ));
    }
    Ok(())
}

fn series(id: u32) -> (u32, Labels) {
    (
        id,
        Labels::new([
            ("__name__".to_owned(), "conformance".to_owned()),
            ("pod".to_owned(), format!("web-{id}")),
        ]),
    )
}

/// Feeds the frame to the detector and empties it.
fn observe(
    monitor: &mut DetectorInstance,
    frame: &mut Frame,
    now: i64,
    place: &str,
) -> Result<(), Failure> {
    frame.now = now;
    monitor
        .observe(frame, false)
        .map_err(|error| Failure::of(&error, place))?;
    frame.clear();
    Ok(())
}
