//! Work for the writer task.

use tokio::sync::oneshot;

use crate::HistoryError;
use crate::chains::Chain;
use crate::columns::{EventColumns, IncidentColumns, PluginColumns};
use crate::cuts::CutReason;
use anomalyzer_domain::UnixMs;

/// Maximum number of records that share one commit.
pub(super) const MAX_GROUP: usize = 256;

/// Work for the writer task.
#[derive(Debug)]
pub(crate) enum Work {
    Event(Box<EventColumns>),
    Incident(Box<IncidentColumns>),
    Plugin(Box<PluginColumns>),
    /// Prunes all events of a chain up to and including `until`.
    Cut {
        chain: Chain,
        until: i64,
        reason: CutReason,
        now: UnixMs,
    },
    /// Makes this process the writer of the log of record.
    TakeOver,
}

/// Work, and the place for its result.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<i64, HistoryError>>,
}
