//! Tests of the history as a view of a log that several servers share. The answers of the log can
//! be lost.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use anomalyzer_bus::{BusError, LogOfRecord};
use anomalyzer_common::metrics::Metrics;
use anomalyzer_domain::{Delivery, Record, Topic, UnixMs};
use anomalyzer_history::{
    DecisionEvent, DecisionEventKind, FILE_NAME, History, HistoryError, HistoryOptions,
};
use async_trait::async_trait;

use crate::fixture;

fn delivery(offset: i64, record: Record) -> Delivery {
    Delivery {
        topic: Topic::Decisions,
        partition: 0,
        offset,
        published_at: None,
        record,
    }
}

/// Topics that several servers write to.
#[derive(Clone, Default)]
struct Topics(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    records: Vec<Record>,
    /// Number of times that a server has taken over the log.
    epoch: u32,
    /// Appends whose answer gets lost, the next append last. True if the append is done
    /// nevertheless.
    lost: Vec<bool>,
    /// Offset of a record that nobody can read.
    unreadable: Option<i64>,
}

struct Shared {
    topics: Topics,
    /// Epoch under which this server may write.
    epoch: Option<u32>,
}

#[async_trait]
impl LogOfRecord for Shared {
    fn name(&self) -> &'static str {
        "log"
    }

    async fn take_over(&mut self) -> Result<(), BusError> {
        let mut topics = self.topics.0.lock();
        topics.epoch += 1;
        self.epoch = Some(topics.epoch);
        Ok(())
    }

    async fn read(&mut self, from: i64, max: usize) -> Result<(Vec<Delivery>, bool), BusError> {
        let topics = self.topics.0.lock();
        if let Some(offset) = topics.unreadable.filter(|offset| from >= *offset) {
            let why = format!("log has an unreadable batch of the offsets {offset} to {offset}");
            return Err(BusError::Unavailable(why));
        }
        let max = match topics
            .unreadable
            .map(|offset| usize::try_from(offset - from))
        {
            Some(readable) => max.min(readable.unwrap()),
            None => max,
        };
        let all = topics
            .records
            .iter()
            .cloned()
            .zip(0..)
            .filter(|(_, offset)| *offset >= from);
        let page: Vec<_> = all
            .take(max)
            .map(|(record, offset)| delivery(offset, record))
            .collect();
        let ended = page.len() < max;
        Ok((page, ended))
    }

    async fn append(&mut self, records: Vec<Record>) -> Result<i64, BusError> {
        let mut topics = self.topics.0.lock();
        if self.epoch.take() != Some(topics.epoch) {
            return Err(BusError::Fenced);
        }
        let lost = topics.lost.pop();
        if lost != Some(false) {
            topics.records.extend(records);
        }
        if lost.is_some() {
            return Err(BusError::Unavailable("the answer was lost".into()));
        }
        self.epoch = Some(topics.epoch);
        Ok(i64::try_from(topics.records.len()).unwrap())
    }
}

struct Server {
    history: History,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start(topics: &Topics) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Box::new(Shared {
            topics: topics.clone(),
            epoch: None,
        });
        let (options, path) = (
            HistoryOptions {
                time_limit: Duration::from_millis(500),
                ..HistoryOptions::default()
            },
            folder.path().join(FILE_NAME),
        );
        let history = History::open_with(&path, options, &Metrics::default(), Some(log))
            .await
            .unwrap();
        Self {
            history,
            _folder: folder,
        }
    }

    async fn record(&self, at: UnixMs) -> Result<i64, HistoryError> {
        let decision = fixture::proposed(1);
        self.history
            .record(DecisionEvent {
                kind: DecisionEventKind::Ended,
                at,
                decision,
                input: None,
            })
            .await
    }

    async fn times(&self) -> Vec<UnixMs> {
        let events = self
            .history
            .events_of(&fixture::proposed(1).id)
            .await
            .unwrap();
        events.iter().map(|event| event.at).collect()
    }

    async fn head(&self) -> String {
        let [walked, ..] = self.history.audit(&[]).await.unwrap();
        assert_eq!(walked.broken, None);
        walked.hash
    }
}

#[tokio::test]
async fn what_is_on_the_log_without_an_answer_is_there_after_the_next_turn_and_the_other_is_not() {
    for (done, expected) in [(true, vec![1, 2, 3]), (false, vec![1, 3])] {
        let topics = Topics::default();
        let server = Server::start(&topics).await;
        server.history.take_over().await.unwrap();
        server.record(1).await.unwrap();
        topics.0.lock().lost.push(done);
        assert!(matches!(
            server.record(2).await,
            Err(HistoryError::Log { .. })
        ));
        tokio::time::timeout(Duration::from_secs(9), server.history.stands_by())
            .await
            .unwrap();
        assert_eq!(server.times().await, [1], "nobody knows yet");
        server.history.take_over().await.unwrap();
        server.record(3).await.unwrap();
        assert_eq!(server.times().await, expected);
        let other = Server::start(&topics).await;
        other.history.take_over().await.unwrap();
        assert_eq!(
            (other.times().await, other.head().await),
            (expected, server.head().await)
        );
        assert!(
            matches!(server.record(4).await, Err(HistoryError::StandsBy { .. })),
            "the other one took over"
        );
        assert!(
            matches!(server.record(4).await, Err(HistoryError::StandsBy { .. })),
            "and it knows"
        );
    }
}

#[tokio::test]
async fn a_log_without_its_beginning_is_followed_from_where_it_begins() {
    let topics = Topics::default();
    let server = Server::start(&topics).await;
    server.history.take_over().await.unwrap();
    for at in 1..=4 {
        server.record(at).await.unwrap();
    }
    topics.0.lock().records.drain(..2);
    let other = Server::start(&topics).await;
    other.history.take_over().await.unwrap();
    assert_eq!(
        (other.times().await, other.head().await),
        (vec![3, 4], server.head().await)
    );
    other.record(5).await.unwrap();
    assert_eq!(other.times().await, [3, 4, 5]);
    // A log with a missing event in the middle is rejected.
    topics.0.lock().records.remove(1);
    let third = Server::start(&topics).await;
    let refused = third.history.take_over().await.unwrap_err();
    assert!(
        matches!(&refused, HistoryError::Apart { reason, .. } if reason.contains("event 5")),
        "{refused}"
    );
}

#[tokio::test]
async fn behind_a_record_that_nobody_can_read_nothing_is_recorded_until_it_can_be_read() {
    let topics = Topics::default();
    let server = Server::start(&topics).await;
    server.history.take_over().await.unwrap();
    for at in 1..=3 {
        server.record(at).await.unwrap();
    }
    topics.0.lock().unreadable = Some(1);
    let other = Server::start(&topics).await;
    for _ in 0..2 {
        let refused = other.history.take_over().await.unwrap_err().to_string();
        assert!(
            refused.contains("unreadable batch of the offsets 1 to 1"),
            "{refused}"
        );
        assert!(
            matches!(other.record(9).await, Err(HistoryError::StandsBy { .. })),
            "nothing is recorded, so nothing is done"
        );
        assert!(other.history.health().problem.is_some());
        assert_eq!(other.times().await, [1], "the event behind it is not taken");
    }
    topics.0.lock().unreadable = None;
    other.history.take_over().await.unwrap();
    other.record(4).await.unwrap();
    assert_eq!(other.times().await, [1, 2, 3, 4]);
    assert_eq!(other.history.health().problem, None);
}
