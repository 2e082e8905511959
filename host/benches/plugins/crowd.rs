//! Measures one, ten and a hundred detectors on ten thousand series, on all threads of the host as
//! in the engine, and the memory of each instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;

use super::{calm, load, opening, round};

const SERIES: u32 = 10_000;
const ROUNDS: i64 = 15;

pub async fn measure() -> anyhow::Result<()> {
    println!(
        "\n{:>9}  {:>10}  {:>14}  {:>16}  {:>14}  {:>14}",
        "detectors", "series", "a round takes", "ns/sample each", "MiB each idle", "MiB each full"
    );
    let mut alone = None;
    for detectors in [1, 10, 100] {
        // A hundred detectors with ten thousand series each need more memory than the default limit
        // for all plugins of one host.
        let plugins = load(&["plugins/zscore.wasm"], |config| {
            config.limits.total_memory_bytes = 16 << 30;
        })?;
        let settings = calm();
        let handles =
            try_join_all((0..detectors).map(|_| plugins.detector("zscore", &settings))).await?;
        let idle = plugins.health().memory_bytes;
        let opening = Arc::new(opening(SERIES));
        try_join_all(
            handles
                .iter()
                .map(|handle| handle.observe(opening.clone(), false)),
        )
        .await?;
        let mut quickest = Duration::MAX;
        for second in 1..=ROUNDS {
            let frame = Arc::new(round(SERIES, second * 1000));
            let begun = Instant::now();
            try_join_all(
                handles
                    .iter()
                    .map(|handle| handle.observe(frame.clone(), false)),
            )
            .await?;
            quickest = quickest.min(begun.elapsed());
        }
        let full = plugins.health().memory_bytes;
        let each = |bytes: u64| bytes as f64 / f64::from(1 << 20) / f64::from(detectors);
        let per_sample = quickest.as_nanos() as f64 / f64::from(SERIES) / f64::from(detectors);
        let ratio = per_sample / *alone.get_or_insert(per_sample);
        println!(
            "{detectors:>9}  {SERIES:>10}  {quickest:>14.2?}  {per_sample:>7.1} ({ratio:>5.2}x)  {:>14.2}  {:>14.2}",
            each(idle),
            each(full)
        );
    }
    Ok(())
}
