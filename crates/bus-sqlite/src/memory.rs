//! In-memory log of the metrics. Holds messages until every group has committed them, within a
//! bound.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Delivery, Record, Topic, UnixMs};

/// Divisor of the bound. One part of the bound is reserved for committed messages, which followers
/// can still read without blocking publishers.
const KEPT_FOR_FOLLOWERS: usize = 8;

/// Bounded log with consumer groups.
pub(super) struct MemoryLog {
    topic: Topic,
    max_messages: usize,
    max_bytes: usize,
    state: Mutex<State>,
    head: watch::Sender<i64>,
    room: Notify,
}

struct State {
    /// Offset of the first entry.
    first: i64,
    entries: VecDeque<(UnixMs, Record)>,
    /// Total size of all entries in bytes.
    bytes: usize,
    /// First offset that not all groups have committed, and the size in bytes of the messages from
    /// there.
    pending_from: i64,
    pending_bytes: usize,
    /// Next uncommitted offset of each group.
    groups: HashMap<String, i64>,
}

impl State {
    fn end(&self) -> i64 {
        self.first + self.entries.len() as i64
    }

    fn pending(&self) -> usize {
        (self.end() - self.pending_from) as usize
    }

    /// Removes the messages that all groups have committed from the pending count and size.
    fn settle(&mut self) {
        let Some(&done) = self.groups.values().min() else {
            return;
        };
        while self.pending_from < done.min(self.end()) {
            let at = (self.pending_from - self.first) as usize;
            self.pending_bytes -= self.entries[at].1.size();
            self.pending_from += 1;
        }
    }

    /// Drops the oldest committed messages until the log is within `max_messages` and `max_bytes`.
    fn trim(&mut self, max_messages: usize, max_bytes: usize) {
        while self.first < self.pending_from
            && (self.entries.len() > max_messages || self.bytes > max_bytes)
        {
            let Some((_, record)) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= record.size();
            self.first += 1;
        }
    }
}

impl MemoryLog {
    /// Creates an empty log whose first message gets the offset `first`.
    pub(super) fn new(topic: Topic, max_messages: usize, max_bytes: usize, first: i64) -> Self {
        let state = State {
            first,
            entries: VecDeque::new(),
            bytes: 0,
            pending_from: first,
            pending_bytes: 0,
            groups: HashMap::new(),
        };
        let head = watch::Sender::new(first);
        Self {
            topic,
            max_messages,
            max_bytes,
            state: Mutex::new(state),
            head,
            room: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code in this file panics halfway through a change.
        self.state.lock()
    }

    /// Appends a record, or returns it if the bound is reached.
    fn try_push(&self, record: Record) -> Result<(), Record> {
        let bytes = record.size();
        let mut state = self.state();
        // A message larger than the bound is accepted if no other message is pending.
        let too_many_bytes = state.pending() > 0 && state.pending_bytes + bytes > self.max_bytes;
        if state.pending() >= self.max_messages || too_many_bytes {
            return Err(record);
        }
        state.entries.push_back((now_ms(), record));
        state.bytes += bytes;
        state.pending_bytes += bytes;
        let (messages, bytes) = (
            self.max_messages / KEPT_FOR_FOLLOWERS,
            self.max_bytes / KEPT_FOR_FOLLOWERS,
        );
        state.trim(messages, bytes);
        let end = state.end();
        drop(state);
        self.head.send_replace(end);
        Ok(())
    }

    /// Appends a record and waits for room if necessary. Returns false on a timeout. Calls
    /// `when_full` if it has to wait.
    pub(super) async fn push(
        &self,
        mut record: Record,
        timeout: Duration,
        when_full: impl FnOnce(),
    ) -> bool {
        match self.try_push(record) {
            Ok(()) => return true,
            Err(back) => record = back,
        }
        when_full();
        let deadline = Instant::now() + timeout;
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match self.try_push(record) {
                Ok(()) => return true,
                Err(back) => record = back,
            }
            if timeout_at(deadline, room).await.is_err() {
                return false;
            }
        }
    }

    /// Adds a group and returns its position: its committed offset, or the oldest message.
    pub(super) fn join(&self, group: &str) -> i64 {
        let mut state = self.state();
        let first = state.first;
        *state.groups.entry(group.to_owned()).or_insert(first)
    }

    /// Commits all messages before `next` for a group.
    pub(super) fn commit(&self, group: &str, next: i64) {
        let mut state = self.state();
        let (first, end) = (state.first, state.end());
        let committed = state.groups.entry(group.to_owned()).or_insert(first);
        *committed = next.min(end).max(*committed);
        state.settle();
        state.trim(
            self.max_messages / KEPT_FOR_FOLLOWERS,
            self.max_bytes / KEPT_FOR_FOLLOWERS,
        );
        drop(state);
        self.room.notify_waiters();
    }

    /// Returns up to `max` messages starting at `from`. If those were dropped, starts at the oldest
    /// available message.
    pub(super) fn read(&self, from: i64, max: usize) -> Vec<Delivery> {
        let state = self.state();
        let skip = usize::try_from(from - state.first).unwrap_or(0);
        let offsets = state.first + skip as i64..;
        let records = state.entries.iter().skip(skip).take(max);
        records
            .zip(offsets)
            .map(|((at, record), offset)| Delivery {
                topic: self.topic,
                partition: 0,
                offset,
                published_at: Some(*at),
                record: record.clone(),
            })
            .collect()
    }

    /// Returns the offset of the first message in memory and the offset of the next message.
    pub(super) fn span(&self) -> (i64, i64) {
        let state = self.state();
        (state.first, state.end())
    }

    /// Returns a receiver of the offset that the next message will get.
    pub(super) fn head(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// Returns the number of messages that wait for a commit.
    pub(super) fn waiting(&self) -> usize {
        self.state().pending()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: &'static [u8]) -> Record {
        Record {
            payload: payload.into(),
            ..Record::default()
        }
    }

    #[test]
    fn what_all_groups_have_committed_makes_room() {
        let log = MemoryLog::new(Topic::Metrics, 2, 1000, 10);
        log.join("a");
        log.join("b");
        log.try_push(record(b"1")).unwrap();
        log.try_push(record(b"2")).unwrap();
        assert_eq!(log.try_push(record(b"3")), Err(record(b"3")));
        log.commit("a", 12);
        assert!(log.try_push(record(b"3")).is_err(), "b has not done it yet");
        log.commit("b", 11);
        log.try_push(record(b"3")).unwrap();
        assert_eq!(
            log.read(10, 9).iter().map(|d| d.offset).collect::<Vec<_>>(),
            [11, 12]
        );
    }

    #[test]
    fn bytes_are_bounded_and_a_giant_goes_alone() {
        let log = MemoryLog::new(Topic::Metrics, 100, 4, 0);
        log.join("a");
        log.try_push(record(b"0123456789")).unwrap();
        assert!(log.try_push(record(b"1")).is_err());
        log.commit("a", 1);
        log.try_push(record(b"1234")).unwrap();
        assert!(log.try_push(record(b"5")).is_err());
    }

    #[test]
    fn followers_can_still_read_a_little_of_what_was_committed() {
        let log = MemoryLog::new(Topic::Metrics, 80, 1000, 0);
        log.join("a");
        for _ in 0..50 {
            log.try_push(record(b"x")).unwrap();
        }
        log.commit("a", 50);
        assert_eq!(log.waiting(), 0);
        assert_eq!(log.read(0, 99).len(), 10);
    }
}
