//! Errors of decoding a message.

use anomalyzer_domain::{LabelsError, Record, UNREADABLE, UnixMs, is_hidden};

/// Error of decoding a message, with its position. It becomes the reason of the dead letter, so it
/// is kept short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The payload is not the expected JSON.
    #[error("not {what} as JSON: {reason}")]
    Json {
        /// Expected content.
        what: &'static str,
        /// Problem, with line and column.
        reason: String,
    },
    /// The payload is not a `WriteRequest`.
    #[error("not a WriteRequest: {reason} at byte {at}")]
    Protobuf {
        /// Problem.
        reason: &'static str,
        /// Byte offset in the payload.
        at: usize,
    },
    /// A header is missing or invalid.
    #[error("the header `{name}` {reason}")]
    Header {
        /// Name of the header.
        name: &'static str,
        /// Problem.
        reason: String,
    },
    /// The message stands for messages that no client can read.
    #[error("{0}")]
    Unreadable(String),
    /// A field is missing or invalid.
    #[error("the field `{name}` {reason}")]
    Field {
        /// Name of the field.
        name: &'static str,
        /// Problem.
        reason: String,
    },
    /// A time is not plausible.
    #[error("{what} is at {at} ms, which is {why}")]
    Time {
        /// Item that has the time.
        what: &'static str,
        /// Milliseconds since 1970.
        at: UnixMs,
        /// Problem and remedy.
        why: &'static str,
    },
    /// The labels of one series can't be used. The other series of the message can.
    #[error("a series {0}")]
    Labels(#[from] LabelsError),
    /// A size is over its limit.
    #[error("{size} {what} are more than {limit}")]
    TooMuch {
        /// Item that is too large.
        what: &'static str,
        /// Actual size.
        size: usize,
        /// Largest accepted size.
        limit: usize,
    },
}

impl DecodeError {
    /// Creates an error for JSON that is not a valid `what`.
    pub(super) fn json(what: &'static str) -> impl Fn(serde_json::Error) -> Self {
        move |error| Self::Json {
            what,
            reason: shortened(&error.to_string()),
        }
    }

    /// Creates an error for a field.
    pub(super) fn field(name: &'static str, reason: impl Into<String>) -> Self {
        Self::Field {
            name,
            reason: reason.into(),
        }
    }

    /// Returns an error if the message stands for messages that no client can read.
    pub(super) fn unreadable(record: &Record) -> Result<(), Self> {
        match record.header(UNREADABLE) {
            Some(reason) => Err(Self::Unreadable(shortened_to(reason, 500))),
            None => Ok(()),
        }
    }

    /// Returns an error if `size` is greater than `limit`.
    pub(super) fn limit(what: &'static str, size: usize, limit: usize) -> Result<(), Self> {
        if size > limit {
            Err(Self::TooMuch { what, size, limit })
        } else {
            Ok(())
        }
    }
}

/// Shortens a text from another producer for a log line. Spaces replace hidden characters.
pub(super) fn shortened(text: &str) -> String {
    shortened_to(text, 200).replace(is_hidden, " ")
}

/// Shortens a text to at most `most` bytes, followed by an ellipsis if it was cut.
pub(super) fn shortened_to(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use crate::{AcceptedTime, incidents, metrics, solutions};
    use anomalyzer_domain::{Delivery, Topic};

    use super::DecodeError;

    #[test]
    fn every_consumer_sets_aside_what_no_client_can_read_with_the_reason() {
        let reason = "unreadable batch of the offsets 5 to 7: its checksum is wrong";
        let told = DecodeError::Unreadable(reason.to_owned());
        // The bytes could be taken for a message.
        for bytes in [
            &b"{\"name\": \"m\", \"value\": 1, \"timestamp\": 1}"[..],
            b"",
        ] {
            let of = |topic| Delivery::unreadable(topic, 0, 7, reason, bytes.to_vec().into());
            let metrics = metrics::decode(&of(Topic::Metrics), AcceptedTime::at(i64::MAX));
            assert_eq!(metrics, Err(told.clone()));
            assert_eq!(incidents::decode(&of(Topic::Incidents)), Err(told.clone()));
            let solution = solutions::decode(&of(Topic::Solutions), 1);
            assert_eq!(solution.err(), Some(told.clone()));
        }
    }
}
