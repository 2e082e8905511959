//! Bus inside this process: durable topics in SQLite, metrics in memory.
//!
//! Each topic has one partition, and each group has one active consumer. Offsets grow, but not
//! always by one. Offsets of metrics start above those of an earlier process, because the messages
//! of that process are lost.

mod config;
mod counters;
mod headers;
mod memory;
mod shared;
mod store;
mod subscription;
mod writer;

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqlitePool;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

pub use config::LocalBusConfig;
use counters::Counters;
use memory::MemoryLog;
use shared::{Shared, is_durable};
use store::Change;
use subscription::{LocalSubscription, Reader};
use writer::Writer;

use anomalyzer_bus::{Bus, BusError, BusHealth, Replay, Subscription, dead_letter_name};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::set_aside::SetAside;
use anomalyzer_domain::{Delivery, Record, Topic};

/// Bus inside this process.
pub struct LocalBus {
    shared: Arc<Shared>,
    set_aside: Option<SetAside>,
    gates: Mutex<HashMap<(Topic, String), Arc<Semaphore>>>,
}

impl LocalBus {
    /// Opens the bus on a file, and creates the file if it does not exist. Moves a damaged file
    /// aside: what was on record is in the history, and sources are asked again.
    pub async fn open(path: &Path, config: LocalBusConfig) -> Result<Self, BusError> {
        let damage = match store::open(path, config.max_bytes).await {
            Ok((connection, readers)) => match store::damage(&readers).await {
                None => return Ok(Self::on(connection, readers, config)),
                Some(damage) => {
                    connection.close().await;
                    readers.close().await;
                    damage
                }
            },
            Err(error) if error.damaged => error.reason,
            Err(error) => return Err(BusError::Store(error.reason)),
        };
        let aside = store::move_aside(path, &damage)?;
        let (connection, readers) = store::open(path, config.max_bytes).await?;
        let mut bus = Self::on(connection, readers, config);
        bus.set_aside = Some(aside);
        Ok(bus)
    }

    /// Returns the damaged file that was moved aside when the bus was opened.
    pub fn set_aside(&self) -> Option<&SetAside> {
        self.set_aside.as_ref()
    }

    fn on(connection: SqlitePool, readers: SqlitePool, config: LocalBusConfig) -> Self {
        let (writer, writes) = mpsc::channel(config.queue_messages.max(1));
        let counters = Arc::new(Counters::default());
        let written = watch::Sender::new(0);
        // The offset is in microseconds. It is above all offsets of an earlier process, unless that
        // process had more than a million messages per second.
        let first = now_ms().saturating_mul(1000);
        let metrics = MemoryLog::new(
            Topic::Metrics,
            config.metrics_messages.max(1),
            config.metrics_bytes,
            first,
        );
        let task = Writer {
            connection,
            config: config.clone(),
            counters: Arc::clone(&counters),
            written: written.clone(),
        };
        tokio::spawn(task.run(writes));
        let shared = Arc::new(Shared {
            config,
            readers,
            writer,
            written,
            metrics,
            counters,
        });
        Self {
            shared,
            gates: Mutex::default(),
            set_aside: None,
        }
    }

    /// Returns the newest dead letters of a topic, oldest first.
    pub async fn dead_letters(
        &self,
        topic: Topic,
        newest: usize,
    ) -> Result<Vec<Delivery>, BusError> {
        let name = dead_letter_name(topic.default_name());
        let from = store::newest(&self.shared.readers, &name, newest).await?;
        store::read(&self.shared.readers, topic, &name, from, newest).await
    }

    fn check_size(&self, topic: Topic, record: &Record) -> Result<(), BusError> {
        let (size, limit) = (record.size(), self.shared.config.max_message_bytes);
        match size > limit {
            true => Err(BusError::TooLarge { topic, size, limit }),
            false => Ok(()),
        }
    }

    fn gate(&self, topic: Topic, group: &str) -> Arc<Semaphore> {
        let mut gates = self.gates.lock();
        Arc::clone(
            gates
                .entry((topic, group.to_owned()))
                .or_insert_with(|| Arc::new(Semaphore::new(1))),
        )
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, topic: Topic, record: Record) -> Result<(), BusError> {
        self.check_size(topic, &record)?;
        if is_durable(topic) {
            let change = Change::Append {
                topic: topic.default_name().to_owned(),
                at: now_ms(),
                records: vec![record],
            };
            return self.shared.write(topic, change).await.map(drop);
        }
        let time_limit = self.shared.config.publish_timeout;
        if self
            .shared
            .metrics
            .push(record, time_limit, || self.shared.count_full(topic))
            .await
        {
            Ok(())
        } else {
            Err(BusError::Full(topic))
        }
    }

    async fn publish_all(&self, topic: Topic, records: &[Record]) -> Result<(), BusError> {
        for record in records {
            self.check_size(topic, record)?;
        }
        if !is_durable(topic) {
            for record in records {
                self.publish(topic, record.clone()).await?;
            }
            return Ok(());
        }
        let change = Change::Append {
            topic: topic.default_name().to_owned(),
            at: now_ms(),
            records: records.to_vec(),
        };
        self.shared.write(topic, change).await.map(drop)
    }

    async fn subscribe(
        &self,
        topic: Topic,
        group: &str,
    ) -> Result<Box<dyn Subscription>, BusError> {
        // The group is registered now, so that no message is pruned before the group has read it.
        let position = self.shared.join(topic, group).await?;
        let reader = Reader::Member {
            group: group.to_owned(),
            gate: self.gate(topic, group),
            turn: None,
        };
        Ok(Box::new(LocalSubscription::new(
            Arc::clone(&self.shared),
            topic,
            reader,
            position,
        )))
    }

    async fn tail(&self, topic: Topic) -> Result<Box<dyn Subscription>, BusError> {
        let position = if is_durable(topic) {
            store::end(&self.shared.readers, topic.default_name()).await?
        } else {
            *self.shared.metrics.head().borrow()
        };
        Ok(Box::new(LocalSubscription::new(
            Arc::clone(&self.shared),
            topic,
            Reader::Follower,
            position,
        )))
    }

    async fn replay(&self, topic: Topic) -> Result<Replay, BusError> {
        let (first, end) = if is_durable(topic) {
            store::span(&self.shared.readers, topic.default_name()).await?
        } else {
            self.shared.metrics.span()
        };
        let subscription =
            LocalSubscription::new(Arc::clone(&self.shared), topic, Reader::Follower, first);
        let ends = if first < end {
            [(0, end)].into()
        } else {
            BTreeMap::new()
        };
        Ok(Replay {
            subscription: Box::new(subscription),
            ends,
        })
    }

    fn is_partitioned(&self) -> bool {
        false
    }

    fn health(&self) -> BusHealth {
        let shared = &self.shared;
        let queued = shared.writer.max_capacity() - shared.writer.capacity();
        let problem = shared.counters.problem.lock().clone();
        BusHealth {
            kind: "local",
            problem,
            waiting: (queued + shared.metrics.waiting()) as u64,
            capacity: (shared.writer.max_capacity() + shared.config.metrics_messages) as u64,
            full: shared.counters.full.load(Ordering::Relaxed),
            dead_letters: shared.counters.dead_letters.load(Ordering::Relaxed),
            unreadable: 0,
            lags: vec![],
        }
    }

    async fn drain(&self, time_limit: Duration) -> Result<(), BusError> {
        match timeout(
            time_limit,
            self.shared.write(Topic::Decisions, Change::Flush),
        )
        .await
        {
            Ok(written) => written.map(drop),
            Err(_) => Err(BusError::Store(format!(
                "still writing after {} s",
                time_limit.as_secs_f32()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: u64 = 1 << 30;

    fn record(payload: &[u8]) -> Record {
        Record {
            payload: payload.to_vec().into(),
            ..Record::default()
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error_that_health_shows_until_there_is_room_and_what_was_taken_stays()
     {
        let folder = tempfile::tempdir().unwrap();
        let (connection, readers) = store::open(&folder.path().join("bus.sqlite"), MAX_BYTES)
            .await
            .unwrap();
        let pages = |count: i64| {
            let connection = connection.clone();
            let set = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {count}"));
            async move { sqlx::query(set).execute(&connection).await.unwrap() }
        };
        pages(50).await;
        let bus = LocalBus::on(connection.clone(), readers, LocalBusConfig::default());
        let mut taken = 0;
        let problem = loop {
            match bus.publish(Topic::Decisions, record(&[7; 10_000])).await {
                Ok(()) => taken += 1,
                Err(BusError::Store(problem)) => break problem,
                Err(other) => panic!("{other:?}"),
            }
            assert!(taken < 1000, "50 pages hold less");
        };
        assert!(problem.contains("full"), "{problem}");
        assert_eq!(bus.health().problem, Some(problem));

        pages(5000).await;
        // The recovery is detected without a write.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while bus.health().problem.is_some() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "there is room again, and nobody noticed"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bus.publish(Topic::Decisions, record(b"there is room again"))
            .await
            .unwrap();
        let mut tail = bus.subscribe(Topic::Decisions, "g").await.unwrap();
        assert_eq!(
            tail.next(1000, Duration::from_secs(9)).await.unwrap().len(),
            taken + 1
        );
    }

    #[tokio::test]
    async fn only_what_every_group_has_done_and_is_old_is_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, readers) = store::open(&folder.path().join("bus.sqlite"), MAX_BYTES)
            .await
            .unwrap();
        let bus = LocalBus::on(
            connection.clone(),
            readers.clone(),
            LocalBusConfig::default(),
        );
        for topic in [Topic::Incidents, Topic::Decisions] {
            for payload in [b"0", b"1", b"2"] {
                bus.publish(topic, record(payload)).await.unwrap();
            }
        }
        let mut fast = bus.subscribe(Topic::Incidents, "fast").await.unwrap();
        let mut slow = bus.subscribe(Topic::Incidents, "slow").await.unwrap();
        let all = fast.next(9, Duration::from_secs(9)).await.unwrap();
        fast.commit(&all[2]).await.unwrap();
        slow.commit(&all[0]).await.unwrap();

        let prune = async |before| {
            store::apply(
                &connection,
                &[Change::Prune {
                    topic: Topic::Incidents,
                    before,
                }],
            )
            .await
            .unwrap();
            store::read(
                &readers,
                Topic::Incidents,
                Topic::Incidents.default_name(),
                0,
                9,
            )
            .await
            .unwrap()
            .len()
        };
        assert_eq!(prune(0).await, 3, "nothing is that old");
        assert_eq!(prune(now_ms() + 1).await, 2, "one was done by both");
        slow.commit(&all[2]).await.unwrap();
        assert_eq!(prune(now_ms() + 1).await, 0);
        assert_eq!(
            store::read(&readers, Topic::Decisions, "decisions-topic", 0, 9)
                .await
                .unwrap()
                .len(),
            3
        );
    }

    #[tokio::test]
    async fn the_oldest_dead_letters_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, readers) = store::open(&folder.path().join("bus.sqlite"), MAX_BYTES)
            .await
            .unwrap();
        let topic = "metrics-topic-dead-letter".to_owned();
        let append = |byte: u8| Change::Append {
            topic: topic.clone(),
            at: 1,
            records: vec![record(&[byte; 100])],
        };
        let changes: Vec<_> = (0..5).map(append).collect();
        store::apply(&connection, &changes).await.unwrap();
        let prune = Change::PruneDeadLetters {
            topic: topic.clone(),
            keep_bytes: 250,
        };
        store::apply(&connection, &[prune]).await.unwrap();
        let left = store::read(&readers, Topic::Metrics, &topic, 0, 9)
            .await
            .unwrap();
        assert_eq!(
            left.iter()
                .map(|letter| letter.record.payload[0])
                .collect::<Vec<_>>(),
            [3, 4]
        );
    }

    #[tokio::test]
    async fn one_pruning_deletes_a_bounded_number_of_dead_letters() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, readers) = store::open(&folder.path().join("bus.sqlite"), MAX_BYTES)
            .await
            .unwrap();
        let topic = "metrics-topic-dead-letter".to_owned();
        let count = 2 * store::PRUNE_ROWS + 1;
        let changes: Vec<_> = (0..count)
            .map(|_| Change::Append {
                topic: topic.clone(),
                at: 1,
                records: vec![record(b"x")],
            })
            .collect();
        store::apply(&connection, &changes).await.unwrap();
        let mut left = count;
        while left > 0 {
            let prune = Change::PruneDeadLetters {
                topic: topic.clone(),
                keep_bytes: 0,
            };
            let pruned = store::apply(&connection, &[prune]).await.unwrap()[0];
            assert_eq!(pruned, left.min(store::PRUNE_ROWS));
            left -= pruned;
        }
        let span = store::span(&readers, &topic).await.unwrap();
        assert_eq!(span, (0, 0));
    }

    #[tokio::test]
    async fn a_damaged_file_is_moved_aside_and_the_bus_works() {
        type Damage = fn(&mut Vec<u8>);
        let damages: [(&str, Damage); 4] = [
            ("no database", |bytes| bytes.fill(b'x')),
            ("cut off", |bytes| bytes.truncate(5000)),
            ("a garbled page", |bytes| {
                let page = bytes.len() / 4096 / 2 * 4096;
                bytes[page..page + 4096].fill(0x5a);
            }),
            ("a garbled header", |bytes| bytes[30..90].fill(0xff)),
        ];
        for (what, damage) in damages {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("bus.sqlite");
            let bus = LocalBus::open(&path, LocalBusConfig::default())
                .await
                .unwrap();
            assert!(bus.set_aside().is_none());
            for _ in 0..50 {
                bus.publish(Topic::Incidents, record(&[7; 3000]))
                    .await
                    .unwrap();
            }
            let shared = Arc::clone(&bus.shared);
            drop(bus);
            shared.readers.close().await;
            drop(shared);
            // The writer closes the file when all senders are gone.
            let closed = folder.path().join("bus.sqlite-wal");
            let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
            while closed.exists() {
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "the bus never closed"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, bytes).unwrap();

            let bus = LocalBus::open(&path, LocalBusConfig::default())
                .await
                .unwrap();
            let aside = bus.set_aside().map(|aside| aside.path.clone());
            assert!(aside.is_some_and(|aside| aside.exists()), "{what}");
            bus.publish(Topic::Incidents, record(b"new")).await.unwrap();
        }
    }
}
