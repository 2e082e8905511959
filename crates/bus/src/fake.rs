//! A bus in memory whose failures a test decides.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{Bus, BusError, BusHealth, Replay, Subscription};
use anomalyzer_domain::{Delivery, Record, Topic};

#[derive(Default)]
struct Inside {
    published: Vec<(Topic, Record)>,
    waiting: VecDeque<Delivery>,
    offered: i64,
    committed: Vec<i64>,
    set_aside: Vec<(i64, String)>,
    failing: Failing,
    subscribed: u32,
}

/// How often each of these fails before it works.
#[derive(Clone, Copy, Default)]
pub struct Failing {
    pub publish: u32,
    pub dead_letter: u32,
    pub subscribe: u32,
}

/// One topic is read from it, all can be published to.
#[derive(Clone, Default)]
pub struct FakeBus {
    inside: Arc<Mutex<Inside>>,
    more: Arc<Notify>,
}

fn fail(left: &mut u32) -> Result<(), BusError> {
    match left.checked_sub(1) {
        Some(less) => {
            *left = less;
            Err(BusError::Unavailable("the test says so".into()))
        }
        None => Ok(()),
    }
}

impl FakeBus {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock()
    }

    /// Lets calls fail from now on.
    pub fn fail(&self, failing: Failing) {
        self.inside().failing = failing;
    }

    /// Has this delivered next. Says at which offset.
    pub fn offer(&self, topic: Topic, record: Record) -> i64 {
        let mut inside = self.inside();
        let offset = inside.offered;
        inside.offered += 1;
        inside.waiting.push_back(Delivery {
            topic,
            partition: 0,
            offset,
            published_at: None,
            record,
        });
        drop(inside);
        self.more.notify_one();
        offset
    }

    /// What was published on a topic.
    pub fn published(&self, topic: Topic) -> Vec<Record> {
        let inside = self.inside();
        inside
            .published
            .iter()
            .filter(|(on, _)| *on == topic)
            .map(|(_, record)| record.clone())
            .collect()
    }

    /// The offsets committed.
    pub fn committed(&self) -> Vec<i64> {
        self.inside().committed.clone()
    }

    /// The offsets set aside, with the reasons.
    pub fn set_aside(&self) -> Vec<(i64, String)> {
        self.inside().set_aside.clone()
    }

    /// How often somebody subscribed.
    pub fn subscribed(&self) -> u32 {
        self.inside().subscribed
    }
}

#[async_trait]
impl Bus for FakeBus {
    async fn publish(&self, topic: Topic, record: Record) -> Result<(), BusError> {
        let mut inside = self.inside();
        fail(&mut inside.failing.publish)?;
        inside.published.push((topic, record));
        Ok(())
    }

    async fn subscribe(&self, _: Topic, _: &str) -> Result<Box<dyn Subscription>, BusError> {
        let mut inside = self.inside();
        fail(&mut inside.failing.subscribe)?;
        inside.subscribed += 1;
        Ok(Box::new(self.clone()))
    }

    async fn tail(&self, _: Topic) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(self.clone()))
    }

    async fn replay(&self, _: Topic) -> Result<Replay, BusError> {
        Ok(Replay {
            subscription: Box::new(self.clone()),
            ends: BTreeMap::new(),
        })
    }

    fn is_partitioned(&self) -> bool {
        false
    }

    fn health(&self) -> BusHealth {
        BusHealth::default()
    }

    async fn drain(&self, _: Duration) -> Result<(), BusError> {
        Ok(())
    }
}

#[async_trait]
impl Subscription for FakeBus {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        if self.inside().waiting.is_empty() {
            let _ = tokio::time::timeout(wait, self.more.notified()).await;
        }
        let mut inside = self.inside();
        let many = max.min(inside.waiting.len());
        Ok(inside.waiting.drain(..many).collect())
    }

    async fn commit(&mut self, delivery: &Delivery) -> Result<(), BusError> {
        self.inside().committed.push(delivery.offset);
        Ok(())
    }

    async fn dead_letter(&mut self, delivery: &Delivery, reason: &str) -> Result<(), BusError> {
        let mut inside = self.inside();
        fail(&mut inside.failing.dead_letter)?;
        inside.set_aside.push((delivery.offset, reason.to_owned()));
        Ok(())
    }
}
