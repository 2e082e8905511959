//! Encodes recorded samples as the messages of a collector, and collects the incident events that
//! follow from them.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::data::Recorded;
use anomalyzer_bus::{Bus, BusError, BusHealth, Replay, Subscription};
use anomalyzer_domain::{
    Coverage, Delivery, IncidentEvent, MetricBatch, Record, Sample, Series, Topic, UnixMs, millis,
};

/// The messages of one interval.
pub(super) struct Tick {
    /// Time of the newest sample.
    pub at: UnixMs,
    pub deliveries: Vec<Delivery>,
}

/// Groups the samples by interval, in ascending order of time.
pub(super) fn ticks(recorded: &[Recorded], interval: Duration) -> impl Iterator<Item = Tick> {
    let interval = millis(interval).max(1);
    let mut slots: BTreeMap<i64, Vec<(usize, usize, usize)>> = BTreeMap::new();
    for (index, one) in recorded.iter().enumerate() {
        let samples = &one.series.samples;
        let mut from = 0;
        while from < samples.len() {
            let slot = samples[from].at.div_euclid(interval);
            let many = samples[from..]
                .iter()
                .take_while(|sample| sample.at.div_euclid(interval) == slot)
                .count();
            slots
                .entry(slot)
                .or_default()
                .push((index, from, from + many));
            from += many;
        }
    }
    let mut offset = 0;
    slots.into_values().map(move |ranges| {
        let mut deliveries = Vec::with_capacity(ranges.len());
        let mut at = UnixMs::MIN;
        for (index, from, to) in ranges {
            let one = &recorded[index];
            let samples: Vec<Sample> = one.series.samples[from..to].to_vec();
            let newest = samples.last().map_or(UnixMs::MIN, |sample| sample.at);
            at = at.max(newest);
            let batch = MetricBatch {
                signal: one.signal.clone(),
                target: Some(one.target.clone()),
                observed_at: newest,
                coverage: Coverage {
                    asked: 1,
                    answered: 1,
                    failed: 0,
                },
                series: vec![Series {
                    labels: one.series.labels.clone(),
                    samples,
                }],
                foreign: false,
            };
            let record = anomalyzer_wire::metrics::encode(&batch);
            deliveries.push(Delivery {
                topic: Topic::Metrics,
                partition: 0,
                offset,
                published_at: None,
                record,
            });
            offset += 1;
        }
        Tick { at, deliveries }
    })
}

/// A bus that keeps the published incident events.
#[derive(Default)]
pub(super) struct Collected(Mutex<Vec<IncidentEvent>>);

impl Collected {
    pub fn take(&self) -> Vec<IncidentEvent> {
        std::mem::take(&mut *self.0.lock())
    }
}

fn none() -> BusError {
    BusError::Unavailable("nobody reads here".to_owned())
}

#[async_trait]
impl Bus for Collected {
    async fn publish(&self, topic: Topic, record: Record) -> Result<(), BusError> {
        let delivery = Delivery {
            topic,
            partition: 0,
            offset: 0,
            published_at: None,
            record,
        };
        if let Ok(event) = anomalyzer_wire::incidents::decode(&delivery) {
            self.0.lock().push(event);
        }
        Ok(())
    }

    async fn subscribe(&self, _: Topic, _: &str) -> Result<Box<dyn Subscription>, BusError> {
        Err(none())
    }

    async fn tail(&self, _: Topic) -> Result<Box<dyn Subscription>, BusError> {
        Err(none())
    }

    async fn replay(&self, _: Topic) -> Result<Replay, BusError> {
        Err(none())
    }

    fn is_partitioned(&self) -> bool {
        false
    }

    fn health(&self) -> BusHealth {
        BusHealth {
            kind: "backtest",
            ..BusHealth::default()
        }
    }

    async fn drain(&self, _: Duration) -> Result<(), BusError> {
        Ok(())
    }
}

/// A subscription that ignores commits: recorded samples are never delivered again.
pub(super) struct Nowhere;

#[async_trait]
impl Subscription for Nowhere {
    async fn next(&mut self, _: usize, _: Duration) -> Result<Vec<Delivery>, BusError> {
        Ok(vec![])
    }

    async fn commit(&mut self, _: &Delivery) -> Result<(), BusError> {
        Ok(())
    }

    async fn dead_letter(&mut self, _: &Delivery, reason: &str) -> Result<(), BusError> {
        Err(BusError::Store(reason.to_owned()))
    }
}
