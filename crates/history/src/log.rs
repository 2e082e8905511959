//! History as a view of a log of record that several servers share: the format of the log's
//! messages and their import.
//!
//! The payload of a message is the event's `body`, byte for byte. Key and headers are its other
//! columns. The log can therefore be verified like the table, and each view of it has the same
//! chain.

use bytes::Bytes;
use sqlx::SqliteTransaction;

use super::chain;
use super::chain::{GENESIS, Hash, Link};
use super::columns::EventColumns;
use super::rows::record_log_start;
use anomalyzer_domain::{Delivery, Record, UnixMs};

/// One message of the log.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub seq: i64,
    pub decision: String,
    pub at: UnixMs,
    pub kind: String,
    pub body: Bytes,
    pub previous: Hash,
    pub hash: Hash,
}

/// Error of importing an event.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Sqlite(#[from] sqlx::Error),
    /// The file and the log have come apart: events between this event and the end of the table are
    /// missing or different.
    #[error("event {seq} of the log does not follow on what is here: {why}")]
    Apart { seq: i64, why: &'static str },
}

impl Entry {
    pub(super) fn of(seq: i64, previous: Hash, hash: Hash, event: &EventColumns) -> Self {
        Self {
            seq,
            decision: event.decision.id.to_string(),
            at: event.at,
            kind: event.kind.to_owned(),
            body: Bytes::copy_from_slice(event.event()),
            previous,
            hash,
        }
    }

    pub(super) fn encode(self) -> Record {
        let text = |value: String| Bytes::from(value);
        Record {
            key: Some(self.decision),
            headers: vec![
                (
                    "content-type".to_owned(),
                    Bytes::from_static(b"application/json"),
                ),
                ("kind".to_owned(), text(self.kind)),
                ("at".to_owned(), text(self.at.to_string())),
                ("seq".to_owned(), text(self.seq.to_string())),
                ("prev-hash".to_owned(), text(hex::encode(self.previous))),
                ("hash".to_owned(), text(hex::encode(self.hash))),
            ],
            payload: self.body,
        }
    }

    /// Decodes a message. Returns None for other messages, for example an anchor, and for a message
    /// whose columns do not match its hash.
    pub(super) fn decode(delivery: &Delivery) -> Option<Self> {
        let record = &delivery.record;
        let hash = |name| hex::decode(record.header(name)?).ok()?.try_into().ok();
        let entry = Self {
            seq: record.header("seq")?.parse().ok()?,
            decision: record.key.clone()?,
            at: record.header("at")?.parse().ok()?,
            kind: record.header("kind")?.to_owned(),
            body: record.payload.clone(),
            previous: hash("prev-hash")?,
            hash: hash("hash")?,
        };
        let link = Link {
            seq: entry.seq,
            decision: &entry.decision,
            at: entry.at,
            kind: &entry.kind,
            body: &entry.body,
        };
        (entry.seq > 0 && chain::hash(&entry.previous, &link) == entry.hash).then_some(entry)
    }

    /// Returns the columns if the event must be appended, or None if it is already in the table.
    /// The second argument is the sequence number and hash of the last event in the table.
    pub(super) async fn to_append(
        &self,
        transaction: &mut SqliteTransaction<'_>,
        (last, hash): (i64, Hash),
    ) -> Result<Option<EventColumns>, ApplyError> {
        let apart = |why| ApplyError::Apart { seq: self.seq, why };
        if self.seq <= last {
            let here: Option<Vec<u8>> = sqlx::query_scalar(
                "SELECT hash FROM decision_events WHERE seq = ?1 UNION ALL SELECT hash FROM cuts WHERE seq = ?1",
            )
            .bind(self.seq)
            .fetch_optional(&mut **transaction)
            .await?;
            return match here {
                // A pruned event can't be compared.
                None => Ok(None),
                Some(here) if here == self.hash => Ok(None),
                Some(_) => Err(apart("another event is there")),
            };
        }
        if last == 0 && hash == GENESIS && self.seq > 1 {
            // The earlier events were removed from the log, or never were on it.
            let times = (self.at, anomalyzer_common::clock::now_ms());
            record_log_start(transaction, self.seq - 1, &self.previous, times).await?;
        } else if self.seq > last + 1 {
            return Err(apart("the events before it are missing"));
        } else if self.previous != hash {
            return Err(apart("the event before it is another one"));
        }
        EventColumns::recorded(&self.kind, self.at, &self.body)
            .map(Some)
            .map_err(|_| apart("it is no event that can be read"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use anomalyzer_domain::Topic;

    fn entry(seq: i64, kind: &str, body: &[u8]) -> Entry {
        let link = Link {
            seq,
            decision: "dec-1",
            at: 7,
            kind,
            body,
        };
        let hash = chain::hash(&[3; 32], &link);
        let (decision, kind, body) = (
            "dec-1".to_owned(),
            kind.to_owned(),
            Bytes::copy_from_slice(body),
        );
        Entry {
            seq,
            decision,
            at: 7,
            kind,
            body,
            previous: [3; 32],
            hash,
        }
    }

    fn delivered(record: Record) -> Delivery {
        Delivery {
            topic: Topic::Decisions,
            partition: 0,
            offset: 0,
            published_at: None,
            record,
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_what_was_changed_is_not(
            seq in 1..i64::MAX, kind in "[a-z_]{1,9}", body: Vec<u8>, header in 1..6_usize, value: Vec<u8>,
        ) {
            let record = entry(seq, &kind, &body).encode();
            let read = Entry::decode(&delivered(record.clone()));
            prop_assert_eq!(read, Some(entry(seq, &kind, &body)));
            let mut changed = record.clone();
            changed.headers[header].1 = value.into();
            prop_assert!(changed == record || Entry::decode(&delivered(changed)).is_none());
            let mut cut = record;
            cut.payload = [&cut.payload[..], b" "].concat().into();
            prop_assert_eq!(Entry::decode(&delivered(cut)), None);
        }
    }
}
