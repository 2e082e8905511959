//! Health of a history.

/// Health of the history, for `/health`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HistoryHealth {
    /// Reason why the last record could not be written. None after a successful write.
    pub problem: Option<String>,
    /// Number of records that wait to be written.
    pub waiting: usize,
    /// Maximum number of waiting records.
    pub capacity: usize,
    /// Number of reads of the acting part that got no connection within the last minute.
    pub reads_refused: u64,
    /// Number of searches that got no connection within the last minute.
    pub searches_refused: u64,
    /// True if this process is the one that records. None if there is no log of record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leads: Option<bool>,
}
