//! Runs a hundred good plugins beside all attacks.

use std::time::{Duration, Instant};

use anomalyzer_domain::Labels;
use anomalyzer_plugin_host::{DetectorHandle, Frame, PluginError};
use futures::future::join_all;
use serde_json::json;

use super::{begin, component, frame, load};

const GOOD: usize = 100;
/// Number of rounds for one p99, and in `BLOCKS` the least number of p99 values for a median.
const ROUNDS: usize = 20;
const BLOCKS: usize = 10;
const SAMPLES: usize = 20;
const ZSCORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins/zscore.wasm");

/// Shows the attacker a frame, and opens it again if its instance was lost, as the engine does.
/// Returns false once the attacker is quarantined.
async fn provoke(attacker: &DetectorHandle) -> bool {
    match attacker.observe(frame(1), false).await {
        Err(PluginError::PluginQuarantined { .. }) => false,
        Err(error) if error.lost_instance() => !matches!(
            attacker.reopen().await,
            Err(PluginError::Quarantined { .. })
        ),
        _ => true,
    }
}

fn p99(mut waited: Vec<Duration>) -> Duration {
    waited.sort_unstable();
    waited[waited.len() * 99 / 100]
}

/// The hundred good detectors, and the number of rounds that they have played.
struct Good {
    handles: Vec<DetectorHandle>,
    rounds: usize,
}

impl Good {
    /// Builds the next frame of one series.
    fn frame(&self) -> Frame {
        let mut frame = Frame::default();
        if self.rounds == 0 {
            frame
                .opened
                .push((0, Labels::new([("__name__", "latency")])));
        }
        for sample in 0..SAMPLES {
            let at = (self.rounds * SAMPLES + sample) as i64 * 1000;
            frame.push(0, at, (sample % 3) as f64);
            frame.now = at;
        }
        frame
    }

    /// Sends a frame to each detector and returns the time that each one took to answer. Checks
    /// that each detector has a score for each of its samples.
    async fn round(&mut self) -> Vec<Duration> {
        let calls = self.handles.iter().map(|handle| async {
            let begun = Instant::now();
            let verdict = handle.observe(self.frame(), true).await.unwrap();
            assert_eq!(
                verdict.scores.len(),
                SAMPLES,
                "a sample is lost in round {}",
                self.rounds
            );
            begun.elapsed()
        });
        let waited = join_all(calls).await;
        self.rounds += 1;
        waited
    }

    /// Returns the median p99 of several blocks of rounds. The blocks continue until `enough`
    /// returns true. A burst of other load spoils only one block.
    async fn play(&mut self, enough: impl Fn() -> bool) -> Duration {
        let mut blocks = Vec::new();
        while blocks.len() < BLOCKS || !enough() {
            let mut waited = Vec::new();
            for _ in 0..ROUNDS {
                waited.extend(self.round().await);
            }
            blocks.push(p99(waited));
        }
        blocks.sort_unstable();
        blocks[blocks.len() / 2]
    }
}

/// Prints the pace of the plugins without a check: on a busy machine, the pace says more about the
/// machine than about the plugins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_every_attack_a_hundred_good_plugins_lose_no_sample() {
    let zscore = std::fs::read(ZSCORE)
        .unwrap_or_else(|error| panic!("{ZSCORE}: {error}; run `cargo xtask plugins`"));
    let plugins = load(
        &[("detector", component("detector")), ("zscore", zscore)],
        2,
    );
    let mut good = Good {
        handles: Vec::new(),
        rounds: 0,
    };
    for _ in 0..GOOD {
        good.handles
            .push(plugins.detector("zscore", &json!({})).await.unwrap());
    }
    let before = good.play(|| true).await;
    let mut attackers = Vec::new();
    for attack in [
        "brim",
        "flood",
        "handles",
        "hoard",
        "long-words",
        "many-findings",
        "nth",
        "spin-in-drop",
    ] {
        attackers.push(begin(&plugins, attack).await);
    }
    let attacks = attackers.into_iter().map(|attacker| async move {
        let mut provoked = 0;
        while provoked < 500 && provoke(&attacker).await {
            provoked += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let attacks = tokio::spawn(join_all(attacks));
    let during = good.play(|| attacks.is_finished()).await;
    attacks.await.unwrap();
    let after = good.play(|| true).await;
    let health = plugins.health();
    println!(
        "p99 of a call: {before:?} before, {during:?} beside the attacks, {after:?} after; {} faults",
        health.faults
    );
    assert!(
        health.faults >= 15,
        "three of the attacks were tried until the plugin was quarantined: {health:?}"
    );
}
