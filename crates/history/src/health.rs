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
    /// True if this process is the one that records. None if there is no log of record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leads: Option<bool>,
}
