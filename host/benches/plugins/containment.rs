//! Measures the cost of deadlines and limits, by turning them on and off alternately.

use std::time::Duration;

use anomalyzer_plugin_host::Plugins;

use super::{calm, load, median, opening, round, timed};

const OPENED: usize = 51;
const TURNS: usize = 40;
const SAMPLES: u32 = 4096;
/// Number of frames with one sample in a turn.
const SINGLE: u32 = 4096;

/// Best result of all turns, for each measurement.
#[derive(Clone, Copy)]
struct Cost {
    open: Duration,
    one: f64,
    many: f64,
}

pub fn measure() -> anyhow::Result<()> {
    let ways = [true, false].map(|contained| {
        load(&["plugins/zscore.wasm"], |config| {
            config.contained = contained;
        })
    });
    let [on, off] = ways;
    let (on, off) = (on?, off?);
    let (mut with, mut without) = (cost(&on)?, cost(&off)?);
    for _ in 1..5 {
        // The two alternate, so that both see the machine at its best.
        with = least(with, cost(&on)?);
        without = least(without, cost(&off)?);
    }
    println!(
        "\n{:<28}  {:>10}  {:>10}  {:>7}\n{:<28}  {:>10.1?}  {:>10.1?}  {:>7.2}\n{:<28}  {:>10.1}  {:>10.1}  {:>7.2}\n{:<28}  {:>10.2}  {:>10.2}  {:>7.2}",
        "containment (zscore)",
        "on",
        "off",
        "ratio",
        "open an instance",
        with.open,
        without.open,
        with.open.as_secs_f64() / without.open.as_secs_f64(),
        "ns/sample, 1 a frame",
        with.one,
        without.one,
        with.one / without.one,
        "ns/sample, 4096 a frame",
        with.many,
        without.many,
        with.many / without.many,
    );
    Ok(())
}

fn least(a: Cost, b: Cost) -> Cost {
    Cost {
        open: a.open.min(b.open),
        one: a.one.min(b.one),
        many: a.many.min(b.many),
    }
}

fn cost(plugins: &Plugins) -> anyhow::Result<Cost> {
    let mut opened = Vec::new();
    for _ in 0..OPENED {
        let (took, monitor) = timed(|| plugins.monitor("zscore", &calm()));
        monitor?;
        opened.push(took);
    }
    let mut monitor = plugins.monitor("zscore", &calm())?;
    monitor.observe(&opening(SAMPLES), false)?;
    let (mut one, mut many, mut at) = (f64::INFINITY, f64::INFINITY, 0);
    for _ in 0..TURNS {
        at += 1000;
        let frame = round(SAMPLES, at);
        let (took, verdict) = timed(|| monitor.observe(&frame, false));
        verdict?;
        many = many.min(took.as_nanos() as f64 / f64::from(SAMPLES));
        let frames: Vec<_> = (1..=SINGLE)
            .map(|later| round(1, at + i64::from(later)))
            .collect();
        at += i64::from(SINGLE);
        let (took, verdicts) = timed(|| {
            frames
                .iter()
                .try_for_each(|frame| monitor.observe(frame, false).map(|_| ()))
        });
        verdicts?;
        one = one.min(took.as_nanos() as f64 / f64::from(SINGLE));
    }
    Ok(Cost {
        open: median(opened),
        one,
        many,
    })
}
