//! Measures the latency of a hundred good detectors before, during and after an attack by malicious
//! guests.

use std::time::{Duration, Instant};

use anomalyzer_plugin_host::{DetectorHandle, Frame, PluginError};
use futures::future::try_join_all;
use serde_json::json;

use super::{calm, load, opening, round};

const GOOD: usize = 100;
const SERIES: u32 = 20;
/// Number of rounds in a block. Each block has one p99, and the median of these counts. `BLOCKS` is
/// the minimum number of blocks. They take some seconds, as long as the attack.
const ROUNDS: usize = 50;
const BLOCKS: usize = 150;
const ATTACKS: [&str; 8] = [
    "brim",
    "flood",
    "handles",
    "hoard",
    "long-words",
    "many-findings",
    "nth",
    "spin-in-drop",
];

pub async fn measure() -> anyhow::Result<()> {
    let plugins = load(&["plugins/zscore.wasm", "evil/detector.wasm"], |config| {
        config.limits.memory_bytes = 8 << 20;
        config.limits.call_deadline = Duration::from_millis(500);
    })?;
    let settings = calm();
    let good = try_join_all((0..GOOD).map(|_| plugins.detector("zscore", &settings))).await?;
    for handle in &good {
        handle.observe(opening(SERIES), false).await?;
    }
    let mut second = 0;
    let before = pace(&good, &mut second, || true).await?;
    let attackers = try_join_all(ATTACKS.map(|attack| {
        let plugins = plugins.clone();
        async move { plugins.detector("evil-detector", &json!(attack)).await }
    }))
    .await?;
    let attacks = tokio::spawn(futures::future::join_all(attackers.into_iter().map(
        |attacker| async move {
            for _ in 0..500 {
                if !provoke(&attacker).await {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        },
    )));
    let during = pace(&good, &mut second, || attacks.is_finished()).await?;
    attacks.await?;
    let after = pace(&good, &mut second, || true).await?;
    println!(
        "\n{GOOD} good detectors, p99 of a call: {:.2?} before, {:.2?} beside {} attackers ({:.2} times, aim 2), \
         {:.2?} after; {} faults of the attackers; the longest of all calls {:.2?}, {:.2?}, {:.2?}",
        before.p99,
        during.p99,
        ATTACKS.len(),
        during.p99.as_secs_f64() / before.p99.as_secs_f64(),
        after.p99,
        plugins.health().faults,
        before.longest,
        during.longest,
        after.longest
    );
    Ok(())
}

/// Treats the attacker as the engine would: sends it a frame, and reopens it after the loss of its
/// instance once that is permitted. Returns false if the attacker is quarantined.
async fn provoke(attacker: &DetectorHandle) -> bool {
    let mut frame = Frame::default();
    frame.push(0, 0, 1.0);
    match attacker.observe(frame, false).await {
        Err(PluginError::PluginQuarantined { .. }) => false,
        Err(error) if error.lost_instance() => !matches!(
            attacker.reopen().await,
            Err(PluginError::Quarantined { .. })
        ),
        _ => true,
    }
}

/// Latency of the calls.
struct Pace {
    p99: Duration,
    longest: Duration,
}

/// Measures blocks of rounds until `enough` returns true, and returns the median p99 of the blocks.
/// A short burst of other work on the machine spoils only one block.
async fn pace(
    good: &[DetectorHandle],
    second: &mut i64,
    enough: impl Fn() -> bool,
) -> anyhow::Result<Pace> {
    let (mut blocks, mut longest) = (Vec::new(), Duration::ZERO);
    while blocks.len() < BLOCKS || !enough() {
        let mut waited = Vec::new();
        for _ in 0..ROUNDS {
            *second += 1;
            let frame = std::sync::Arc::new(round(SERIES, *second * 1000));
            waited.extend(
                try_join_all(good.iter().map(|handle| {
                    let frame = frame.clone();
                    async move {
                        let begun = Instant::now();
                        handle.observe(frame, false).await.map(|_| begun.elapsed())
                    }
                }))
                .await?,
            );
        }
        waited.sort_unstable();
        longest = longest.max(waited.last().copied().unwrap_or_default());
        blocks.push(waited[waited.len() * 99 / 100]);
    }
    blocks.sort_unstable();
    Ok(Pace {
        p99: blocks[blocks.len() / 2],
        longest,
    })
}
