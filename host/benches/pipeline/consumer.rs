//! Hand-written consumer for one metric, as a baseline: rdkafka, a ring of `f64` per series, and a
//! running z-score. It trusts every message, keeps no labels, commits nothing, and detects nothing
//! but spikes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anomalyzer_wire::{AcceptedTime, remote_write};
use anyhow::Context;
use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

const WINDOW: usize = 60;
/// Time without a message after which the topic counts as ended.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

struct Ring {
    values: Vec<f64>,
    oldest: usize,
    sum: f64,
    squares: f64,
}

impl Ring {
    fn push(&mut self, value: f64) -> bool {
        let length = self.values.len() as f64;
        let mean = self.sum / length;
        let z = (value - mean) / (self.squares / length - mean * mean).sqrt();
        self.sum += value;
        self.squares += value * value;
        if self.values.len() < WINDOW {
            self.values.push(value);
            return false;
        }
        let gone = std::mem::replace(&mut self.values[self.oldest], value);
        self.sum -= gone;
        self.squares -= gone * gone;
        self.oldest = (self.oldest + 1) % WINDOW;
        !(-4.0..=4.0).contains(&z)
    }
}

/// Reads `samples` samples. Returns the time from the first message to the last.
pub fn read(brokers: &str, topic: &str, group: &str, samples: u64) -> anyhow::Result<Duration> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.max.messages.kbytes", "32768")
        .create()?;
    consumer.subscribe(&[topic])?;
    let mut series: HashMap<Box<[u8]>, Ring> = HashMap::new();
    let (mut seen, mut spikes, mut start, mut heard) = (0, 0_u64, None, Instant::now());
    while seen < samples {
        // Events other than messages, such as a rebalance of the group, also end a poll.
        let Some(message) = consumer.poll(Duration::from_millis(500)) else {
            anyhow::ensure!(
                heard.elapsed() < TEST_TIMEOUT,
                "the topic ended after {seen} of {samples} samples"
            );
            continue;
        };
        heard = Instant::now();
        let message = message?;
        start.get_or_insert_with(Instant::now);
        for raw in remote_write::walk(
            message.payload().unwrap_or_default(),
            AcceptedTime::at(i64::MAX),
        ) {
            let raw = raw?;
            if !series.contains_key(&*raw.labels) {
                let ring = Ring {
                    values: Vec::with_capacity(WINDOW),
                    oldest: 0,
                    sum: 0.0,
                    squares: 0.0,
                };
                series.insert((&*raw.labels).into(), ring);
            }
            let ring = series
                .get_mut(&*raw.labels)
                .context("a series was just inserted")?;
            for sample in raw.samples {
                spikes += u64::from(ring.push(sample?.value));
                seen += 1;
            }
        }
    }
    std::hint::black_box(spikes);
    Ok(start.map_or(Duration::ZERO, |start| start.elapsed()))
}
