//! Errors of metric sources. Errors with different remedies are different variants.

use std::time::Duration;

use anomalyzer_domain::duration;

/// An HTTP client that cannot be set up, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot set up the HTTP client: {0}")]
pub struct ClientError(pub(crate) String);

/// Error of a source, with its address or query and a remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No connection.
    #[error("{url} can't be reached ({reason}): check that it runs and that the address is right")]
    Unreachable {
        /// The address that was asked.
        url: String,
        /// Reason given by the system.
        reason: String,
    },
    /// No answer in time.
    #[error("{url} did not answer within {}: it hangs or is overloaded, or the timeout is too short", duration::format(*.after))]
    TimedOut {
        /// The address that was asked.
        url: String,
        /// The timeout.
        after: Duration,
    },
    /// No time was left to ask.
    #[error(
        "{url} was not asked, because other addresses of its job took the {} of the round: remove addresses that do \
         not answer, or shorten the job's `timeout`",
        duration::format(*.after)
    )]
    NotAsked {
        /// The address that was not asked.
        url: String,
        /// Time of the round.
        after: Duration,
    },
    /// An HTTP status other than 200.
    #[error("{url} answered {status}{}: {}", quoted(.excerpt), remedy(*.status))]
    Status {
        /// The address that was asked.
        url: String,
        /// The status.
        status: u16,
        /// Beginning of the answer.
        excerpt: String,
    },
    /// Status 200 with an unexpected body, such as the HTML of a login page.
    #[error("{url} answered something else than {expected}{}: check that the address is that of {expected}", quoted(.excerpt))]
    Unexpected {
        /// The address that was asked.
        url: String,
        /// Expected kind of answer.
        expected: &'static str,
        /// Beginning of the answer.
        excerpt: String,
    },
    /// The answer broke off.
    #[error(
        "the answer of {url} broke off in the middle ({reason}): nothing of it is used; check what stands in between"
    )]
    CutShort {
        /// The address that was asked.
        url: String,
        /// Place where the answer broke off.
        reason: String,
    },
    /// The answer is larger than the limit.
    #[error(
        "the answer of {url} is larger than {limit} bytes: ask for less, or raise `body_limit`"
    )]
    TooLarge {
        /// The address that was asked.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer has the right format, but can't be parsed.
    #[error("the answer of {url} can't be read: {reason}")]
    Malformed {
        /// The address that was asked.
        url: String,
        /// The problem and its place in the answer.
        reason: String,
    },
    /// Prometheus rejected the query. Sending it again will not help.
    #[error("Prometheus refused the query `{query}`: {reason}")]
    Refused {
        /// The query.
        query: String,
        /// Reason given by Prometheus.
        reason: String,
    },
    /// Prometheus could not evaluate the query now.
    #[error("Prometheus failed at the query `{query}`: {reason}")]
    Failed {
        /// The query.
        query: String,
        /// Reason given by Prometheus.
        reason: String,
    },
    /// The server states that its answer lacks a part.
    #[error(
        "the answer of {url} is incomplete ({reason}): repair the part that did not answer; incomplete values never justify a drastic action"
    )]
    Partial {
        /// The address that was asked.
        url: String,
        /// Reason given by the server.
        reason: String,
    },
    /// The answer to the query can't be used as a signal.
    #[error("the query `{query}` {reason}")]
    WrongShape {
        /// The query.
        query: String,
        /// Shape of the answer, and the remedy.
        reason: String,
    },
    /// A token, a password or the value of a header can't be read.
    #[error("cannot read the secret in {path}: {reason}")]
    Token {
        /// The file, or another place.
        path: String,
        /// Reason given by the system.
        reason: String,
    },
    /// The source does not support this request at all.
    #[error("unsupported: {0}")]
    Unsupported(String),
}

impl SourceError {
    /// Returns true if the source answers, but always in a form that can't be used. Asking again
    /// does not help.
    pub fn is_unusable(&self) -> bool {
        match self {
            Self::Unexpected { .. }
            | Self::CutShort { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Refused { .. }
            | Self::WrongShape { .. }
            | Self::Token { .. }
            | Self::Unsupported(_) => true,
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::NotAsked { .. }
            | Self::Status { .. }
            | Self::Failed { .. }
            | Self::Partial { .. } => false,
        }
    }

    /// Returns the kind as one word, for metrics and the API.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timed_out",
            Self::NotAsked { .. } => "not_asked",
            Self::Status { .. } => "status",
            Self::Unexpected { .. } => "unexpected",
            Self::CutShort { .. } => "cut_short",
            Self::TooLarge { .. } => "too_large",
            Self::Malformed { .. } => "malformed",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
            Self::Partial { .. } => "partial",
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
        401 | 403 => "check `bearer_token_file`, `basic_auth` and `headers`",
        404 => "check the path",
        429 => "it is asked too often, raise the interval",
        500.. => "look into its log",
        _ => "check the address",
    }
}
