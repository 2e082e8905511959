//! Why a message can't be read.

use crate::domain::UnixMs;

/// Why a message can't be read, and where in it. Goes to the reason of the dead letter, so that it
/// is short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The payload is not the JSON that it should be.
    #[error("not {what} as JSON: {reason}")]
    Json {
        /// What was expected.
        what: &'static str,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// The payload is not a `WriteRequest`.
    #[error("not a WriteRequest: {reason} at byte {at}")]
    Protobuf {
        /// What is wrong.
        reason: &'static str,
        /// Where in the payload.
        at: usize,
    },
    /// A header is missing or wrong.
    #[error("the header `{name}` {reason}")]
    Header {
        /// Which.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A field is missing or wrong.
    #[error("the field `{name}` {reason}")]
    Field {
        /// Which.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A time that can't be right.
    #[error("{what} is at {at} ms, which is {why}")]
    Time {
        /// Of what.
        what: &'static str,
        /// Milliseconds since 1970.
        at: UnixMs,
        /// What is wrong with it, and the remedy.
        why: &'static str,
    },
    /// There is more of it than is taken.
    #[error("{size} {what} are more than {limit}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much.
        size: usize,
        /// How much is taken.
        limit: usize,
    },
}

impl DecodeError {
    /// Of JSON that can't be read as that.
    pub(super) fn json(what: &'static str) -> impl Fn(serde_json::Error) -> Self {
        move |error| Self::Json {
            what,
            reason: shortened(&error.to_string()),
        }
    }

    /// Of a field.
    pub(super) fn field(name: &'static str, reason: impl Into<String>) -> Self {
        Self::Field {
            name,
            reason: reason.into(),
        }
    }

    /// Refuses what is too much.
    pub(super) fn limit(what: &'static str, size: usize, limit: usize) -> Result<(), Self> {
        if size > limit {
            Err(Self::TooMuch { what, size, limit })
        } else {
            Ok(())
        }
    }
}

/// A text that someone else wrote, short enough for a log line.
pub(super) fn shortened(text: &str) -> String {
    shortened_to(text, 200)
}

/// The beginning of a text, in at most so many bytes and a sign that it goes on.
pub(super) fn shortened_to(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most);
    format!("{}…", &text[..end])
}
