//! Why a source could not say anything. Each kind is told apart: what to do about it differs.

use std::time::Duration;

use crate::domain::duration;

/// What went wrong, where, and what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No connection.
    #[error("{url} can't be reached ({reason}): check that it runs and that the address is right")]
    Unreachable {
        /// Asked here.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// No answer in time.
    #[error("{url} did not answer within {}: it hangs or is overloaded, or the timeout is too short", duration::format(*.after))]
    TimedOut {
        /// Asked here.
        url: String,
        /// The timeout.
        after: Duration,
    },
    /// An HTTP status other than 200.
    #[error("{url} answered {status}{}: {}", quoted(.excerpt), remedy(*.status))]
    Status {
        /// Asked here.
        url: String,
        /// The status.
        status: u16,
        /// How the answer begins.
        excerpt: String,
    },
    /// 200, but not what was asked for: HTML of a login page, say.
    #[error("{url} answered something else than {expected}{}: check that the address is that of {expected}", quoted(.excerpt))]
    Unexpected {
        /// Asked here.
        url: String,
        /// What was asked for.
        expected: &'static str,
        /// How the answer begins.
        excerpt: String,
    },
    /// The answer broke off.
    #[error(
        "the answer of {url} broke off in the middle ({reason}): nothing of it is used; check what stands in between"
    )]
    CutShort {
        /// Asked here.
        url: String,
        /// Where.
        reason: String,
    },
    /// The answer is larger than the limit.
    #[error(
        "the answer of {url} is larger than {limit} bytes: ask for less, or raise `body_limit`"
    )]
    TooLarge {
        /// Asked here.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer has the right format and can't be read all the same.
    #[error("the answer of {url} can't be read: {reason}")]
    Malformed {
        /// Asked here.
        url: String,
        /// What and where.
        reason: String,
    },
    /// Prometheus understood the query and said no: asking again won't help.
    #[error("Prometheus refused the query `{query}`: {reason}")]
    Refused {
        /// The query.
        query: String,
        /// What Prometheus said.
        reason: String,
    },
    /// Prometheus could not work the query out now.
    #[error("Prometheus failed at the query `{query}`: {reason}")]
    Failed {
        /// The query.
        query: String,
        /// What Prometheus said.
        reason: String,
    },
    /// The query answers something that is no signal.
    #[error("the query `{query}` {reason}")]
    WrongShape {
        /// The query.
        query: String,
        /// What it answers, and the remedy.
        reason: String,
    },
    /// The file with the token can't be read.
    #[error("cannot read the token in {path}: {reason}")]
    Token {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// This cannot be asked here at all.
    #[error("unsupported: {0}")]
    Unsupported(String),
}

impl SourceError {
    /// The kind as one word, for metrics and the API.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timed_out",
            Self::Status { .. } => "status",
            Self::Unexpected { .. } => "unexpected",
            Self::CutShort { .. } => "cut_short",
            Self::TooLarge { .. } => "too_large",
            Self::Malformed { .. } => "malformed",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
            Self::WrongShape { .. } => "wrong_shape",
            Self::Token { .. } => "token",
            Self::Unsupported(_) => "unsupported",
        }
    }
}

fn quoted(excerpt: &str) -> String {
    if excerpt.is_empty() {
        String::new()
    } else {
        format!(" (`{excerpt}`)")
    }
}

fn remedy(status: u16) -> &'static str {
    match status {
        301..=308 => "redirects are not followed, give the final address",
        401 | 403 => "check the token",
        404 => "check the path",
        429 => "it is asked too often, raise the interval",
        500.. => "look into its log",
        _ => "check the address",
    }
}

/// How an answer begins, on one line and short enough for a message.
pub(super) fn excerpt(body: &[u8]) -> String {
    const LONGEST: usize = 80;
    let start = String::from_utf8_lossy(&body[..body.len().min(4 * LONGEST)]);
    let words = start
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST {
        line
    } else {
        line.chars().take(LONGEST).collect::<String>() + "…"
    }
}
