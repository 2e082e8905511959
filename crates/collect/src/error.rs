//! Error of the set-up of a collector.

use anomalyzer_domain::ConfigIssue;
use anomalyzer_http_source::ClientError;

/// A collector that cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    /// A setting, or a signal, that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigIssue),
    /// The local operator has no such process group.
    #[error(
        "the scrape `{job}` wants the process group `{group}`, which the local operator does not have: check the name"
    )]
    NoGroup {
        /// The scrape.
        job: String,
        /// The process group.
        group: String,
    },
    /// The HTTP client could not be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
}
