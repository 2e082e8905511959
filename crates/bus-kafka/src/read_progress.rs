//! Progress of one consumer in its partitions, from the statistics of librdkafka.
//!
//! librdkafka does not report a batch that it can't read, an open transaction, or a partition
//! without a leader. All three show as a position that stays behind the end of the partition.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use rdkafka::statistics::{Partition as PartitionStatistics, Statistics};

use anomalyzer_bus::PartitionLag;

/// Interval between two statistics, in milliseconds. A tick of this module is one of them.
pub(super) const STATISTICS_INTERVAL_MS: u32 = 1000;
/// Number of ticks after which a partition that stands still is reported.
const REPORT_AFTER: u32 = 15;

/// Reason why a partition stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standstill {
    /// No broker leads the partition.
    NoLeader,
    /// The broker has messages that do not arrive.
    Unread,
    /// A transaction holds the messages back.
    OpenTransaction,
}

/// State of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Partition {
    /// Next offset to fetch.
    next: i64,
    /// Offset up to which all messages were taken from the consumer.
    taken: i64,
    /// Last stable offset: the end of the messages that a consumer may read.
    stable_end: i64,
    /// Offset after the last message.
    end: i64,
    leader: i32,
    /// Number of consecutive ticks at which it stood still.
    ticks: u32,
    /// Tick at which the batch that does not arrive was looked at.
    looked_at: u32,
    /// True if the broker's answer was too large. Such an answer does not even tell its offsets.
    is_suspect: bool,
}

/// A partition whose next messages do not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) partition: i32,
    /// Offset of the message that does not arrive.
    pub(super) next: i64,
    /// Offset after the last message that a consumer may read, or the largest number if it is not
    /// known.
    pub(super) stable_end: i64,
    /// Number of seconds, about.
    pub(super) ticks: u32,
}

#[derive(Default)]
struct Inside {
    partitions: BTreeMap<i32, Partition>,
    /// True if the consumer had no message left since the last statistics.
    drained: bool,
}

/// Progress of one consumer of one topic.
pub(super) struct ReadProgress {
    topic: String,
    group: String,
    inside: Mutex<Inside>,
}

impl Partition {
    fn new(reported: &PartitionStatistics) -> Self {
        Self {
            next: reported.next_offset,
            taken: reported.next_offset,
            stable_end: reported.ls_offset,
            end: reported.hi_offset,
            leader: reported.leader,
            ticks: 0,
            looked_at: 0,
            is_suspect: false,
        }
    }

    fn standstill(&self) -> Option<Standstill> {
        if self.leader < 0 {
            Some(Standstill::NoLeader)
        } else if self.next < 0 {
            // The position is not known yet.
            None
        } else if self.stable_end < 0 || self.next < self.stable_end {
            // Without a stable end, the first fetch has not been answered.
            Some(Standstill::Unread)
        } else if self.stable_end < self.end {
            Some(Standstill::OpenTransaction)
        } else {
            None
        }
    }

    /// Takes the newer statistics of the partition. `drained` is true if all messages up to `next`
    /// were taken since the previous ones.
    fn update(&mut self, reported: &PartitionStatistics, drained: bool) {
        let newer = Self {
            taken: if drained { self.next } else { self.taken },
            ..Self::new(reported)
        };
        let standstill = newer.standstill();
        let is_same = standstill.is_some()
            && standstill == self.standstill()
            && newer.next == self.next
            && (standstill != Some(Standstill::OpenTransaction)
                || newer.stable_end == self.stable_end);
        let (ticks, looked_at) = match is_same {
            // A consumer that takes no messages makes its partitions stand still by itself.
            true => (
                self.ticks.saturating_add(u32::from(drained)),
                self.looked_at,
            ),
            false => (0, 0),
        };
        *self = Self {
            ticks,
            looked_at,
            is_suspect: self.is_suspect,
            ..newer
        };
    }

    /// Returns the number of messages that were not taken yet.
    fn lag(&self) -> u64 {
        // A negative offset stands for an unknown one.
        match self.taken < 0 || self.end < 0 {
            true => 0,
            false => u64::try_from(self.end.saturating_sub(self.taken)).unwrap_or(0),
        }
    }

    /// Returns the reason, with the remedy, if the partition has stood still for a while.
    fn problem(&self) -> Option<String> {
        if self.ticks < REPORT_AFTER {
            return None;
        }
        let Self {
            next,
            stable_end,
            ticks,
            ..
        } = self;
        Some(match self.standstill()? {
            Standstill::NoLeader => {
                format!("has had no leader for {ticks} s: see whether all brokers are up")
            }
            Standstill::Unread if *stable_end < 0 => {
                format!(
                    "has not been read from offset {next} on for {ticks} s: the broker does not answer"
                )
            }
            Standstill::Unread => format!(
                "has not moved from offset {next} for {ticks} s, although the broker has messages up to {stable_end}"
            ),
            Standstill::OpenTransaction => format!(
                "is held at offset {stable_end} by an open transaction for {ticks} s: end the producer's transaction \
                 (kafka-transactions.sh find-hanging)"
            ),
        })
    }
}

impl ReadProgress {
    pub(super) fn new(topic: &str, group: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            group: group.to_owned(),
            inside: Mutex::default(),
        }
    }

    /// Takes the newest statistics.
    pub(super) fn update(&self, statistics: &Statistics) {
        let mut inside = self.inside.lock();
        let Inside {
            partitions,
            drained,
        } = &mut *inside;
        let drained = std::mem::take(drained);
        let topic = statistics.topics.get(&self.topic);
        let read: BTreeMap<i32, &PartitionStatistics> = topic
            .into_iter()
            .flat_map(|topic| &topic.partitions)
            // Partition -1 is internal, and those that are not desired belong to other consumers.
            .filter(|(id, reported)| {
                **id >= 0 && reported.desired && !reported.fetch_state.starts_with("stop")
            })
            .map(|(id, reported)| (*id, reported))
            .collect();
        partitions.retain(|id, _| read.contains_key(id));
        for (id, reported) in read {
            partitions
                .entry(id)
                .and_modify(|partition| partition.update(reported, drained))
                .or_insert_with(|| Partition::new(reported));
        }
    }

    /// Records that the consumer has no message left: all messages that were fetched at the last
    /// statistics were taken.
    pub(super) fn note_drained(&self) {
        self.inside.lock().drained = true;
    }

    /// Records that an answer of the broker was too large to be read.
    pub(super) fn note_too_large(&self) {
        let mut inside = self.inside.lock();
        for partition in inside.partitions.values_mut() {
            partition.is_suspect = true;
        }
    }

    /// Returns true if all messages of a partition before `end` were taken.
    pub(super) fn has_read_to(&self, partition: i32, end: i64) -> bool {
        let inside = self.inside.lock();
        inside.partitions.get(&partition).is_some_and(|partition| {
            let taken = if inside.drained {
                partition.next
            } else {
                partition.taken
            };
            taken >= end
        })
    }

    /// Returns a partition whose next messages have not arrived for `ticks`, once per tick.
    pub(super) fn take_unread(&self, ticks: u32) -> Option<Unread> {
        let mut inside = self.inside.lock();
        let due = |partition: &Partition| {
            let is_unread = partition.standstill() == Some(Standstill::Unread)
                && partition.ticks >= ticks
                && partition.ticks > partition.looked_at;
            is_unread || (partition.is_suspect && partition.next >= 0)
        };
        let mut partitions = inside.partitions.iter_mut();
        let (id, partition) = partitions.find(|(_, partition)| due(partition))?;
        partition.looked_at = partition.ticks;
        let is_known = !std::mem::take(&mut partition.is_suspect) && partition.stable_end >= 0;
        Some(Unread {
            partition: *id,
            next: partition.next,
            stable_end: if is_known {
                partition.stable_end
            } else {
                i64::MAX
            },
            ticks: partition.ticks,
        })
    }

    /// Returns the lag of each partition.
    pub(super) fn lags(&self) -> Vec<PartitionLag> {
        let inside = self.inside.lock();
        let partitions = inside.partitions.iter();
        partitions
            .map(|(id, partition)| PartitionLag {
                topic: self.topic.clone(),
                partition: *id,
                group: self.group.clone(),
                messages: partition.lag(),
                problem: partition.problem(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::statistics::Topic as TopicStatistics;

    const TOPIC: &str = "metrics-topic";

    /// Statistics of one partition: next offset, last stable offset, end and leader.
    fn told((next, stable_end, end, leader): (i64, i64, i64, i32)) -> Statistics {
        let partition = PartitionStatistics {
            next_offset: next,
            ls_offset: stable_end,
            hi_offset: end,
            leader,
            desired: true,
            fetch_state: "active".to_owned(),
            ..PartitionStatistics::default()
        };
        let topic = TopicStatistics {
            partitions: [(3, partition)].into(),
            ..TopicStatistics::default()
        };
        Statistics {
            topics: [(TOPIC.to_owned(), topic)].into(),
            ..Statistics::default()
        }
    }

    /// Shows statistics `times` times to a consumer that takes all its messages in between.
    fn show(progress: &ReadProgress, at: (i64, i64, i64, i32), times: u32) {
        for _ in 0..times {
            progress.update(&told(at));
            progress.note_drained();
        }
    }

    fn problem(progress: &ReadProgress) -> Option<String> {
        progress.lags().remove(0).problem
    }

    #[test]
    fn a_partition_that_stands_still_for_any_reason_is_reported_with_its_lag() {
        for (at, lag, words) in [
            ((5, 9, 9, 1), 4, "has not moved from offset 5"),
            ((5, 5, 9, 1), 4, "open transaction"),
            ((5, 9, 9, -1), 4, "no leader"),
        ] {
            let progress = ReadProgress::new(TOPIC, "g");
            show(&progress, at, REPORT_AFTER);
            assert_eq!(problem(&progress), None, "{at:?} too early");
            show(&progress, at, 2);
            let told = problem(&progress).unwrap();
            assert!(told.contains(words), "{told}");
            assert_eq!(progress.lags()[0].messages, lag);
            show(&progress, (9, 9, 9, 1), 2);
            assert_eq!((problem(&progress), progress.lags()[0].messages), (None, 0));
        }
    }

    #[test]
    fn a_partition_that_moves_or_is_read_to_its_end_is_not_reported() {
        let progress = ReadProgress::new(TOPIC, "g");
        for next in 0..100 {
            show(&progress, (next, 1000, 1000, 1), 1);
            assert_eq!(problem(&progress), None);
        }
        for stable_end in 100..200 {
            show(&progress, (stable_end, stable_end, 1000, 1), 1);
            assert_eq!(problem(&progress), None, "transactions come and go");
        }
        show(&progress, (1000, 1000, 1000, 1), 100);
        assert_eq!(problem(&progress), None);
        show(&progress, (-1001, -1001, -1001, 1), 100);
        assert_eq!((problem(&progress), progress.lags()[0].messages), (None, 0));
    }

    #[test]
    fn a_consumer_that_does_not_take_its_messages_is_no_standstill_of_the_partition() {
        let progress = ReadProgress::new(TOPIC, "g");
        for _ in 0..100 {
            progress.update(&told((5, 9, 9, 1)));
        }
        assert_eq!(problem(&progress), None);
        assert_eq!(progress.take_unread(1), None);
    }

    #[test]
    fn an_unread_batch_is_looked_at_once_per_tick() {
        let progress = ReadProgress::new(TOPIC, "g");
        show(&progress, (5, 9, 9, 1), 4);
        let unread = progress.take_unread(3).unwrap();
        assert_eq!((unread.partition, unread.next, unread.ticks), (3, 5, 3));
        assert_eq!(progress.take_unread(3), None);
        show(&progress, (5, 9, 9, 1), 1);
        assert!(progress.take_unread(3).is_some());
        show(&progress, (6, 9, 9, 1), 1);
        assert_eq!(progress.take_unread(1), None);
    }

    #[test]
    fn after_an_answer_that_is_too_large_every_partition_is_looked_at_once() {
        let progress = ReadProgress::new(TOPIC, "g");
        show(&progress, (9, 9, 9, 1), 2);
        assert_eq!(progress.take_unread(3), None);
        progress.note_too_large();
        show(&progress, (9, 9, 9, 1), 2);
        assert_eq!(progress.take_unread(3).map(|unread| unread.next), Some(9));
        assert_eq!(progress.take_unread(3), None);
    }

    #[test]
    fn a_mark_of_a_transaction_at_the_end_counts_as_read() {
        let progress = ReadProgress::new(TOPIC, "g");
        progress.update(&told((9, 9, 9, 1)));
        assert!(!progress.has_read_to(3, 10));
        progress.note_drained();
        assert!(progress.has_read_to(3, 9));
        progress.update(&told((10, 10, 10, 1)));
        assert!(!progress.has_read_to(3, 10), "it may still be queued");
        assert!(!progress.has_read_to(4, 0));
    }

    #[test]
    fn a_partition_that_another_consumer_took_over_is_forgotten() {
        let progress = ReadProgress::new(TOPIC, "g");
        show(&progress, (5, 9, 9, 1), 20);
        progress.update(&Statistics::default());
        assert_eq!(progress.lags(), []);
    }
}
