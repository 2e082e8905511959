//! Result of an audit.

use serde::Serialize;

use super::chains::{Break, Chain, Difference};

/// Result of verifying a chain, and the tables that are derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Walked {
    /// Chain that was verified.
    pub chain: Chain,
    /// Sequence number of the last pruned event; 0 if no event was pruned.
    pub cut: i64,
    /// True if an earlier version pruned, which left no event about it.
    pub cut_by_earlier_version: bool,
    /// Sequence number of the last valid event.
    pub events: i64,
    /// SHA-256 of the last valid event in hex; zeros if there is no event.
    pub hash: String,
    /// Time of the first event, in milliseconds since 1970.
    pub first_at: Option<i64>,
    /// Time of the last valid event, in milliseconds since 1970.
    pub last_at: Option<i64>,
    /// Number of anchors of this chain that match an event.
    pub anchored: usize,
    /// Number of anchors of this chain whose event was pruned, so that they prove nothing.
    pub pruned_anchors: usize,
    /// First invalid event, if there is one.
    pub broken: Option<Break>,
    /// First row that differs from the events, if there is one.
    pub differs: Option<Difference>,
}

impl Walked {
    /// Returns the first problem in words, if there is one.
    pub fn problem(&self) -> Option<String> {
        let name = self.chain.as_str();
        match (&self.broken, &self.differs) {
            (Some(Break { seq, what, .. }), _) => Some(format!(
                "the chain of {name} is broken at event {seq}: {what}"
            )),
            (None, Some(Difference { table, row, what })) => Some(format!(
                "the table {table} differs from the chain of {name} at {row}: {what}"
            )),
            (None, None) => None,
        }
    }

    /// Returns the remedy of the problem, if there is one.
    pub fn remedy(&self) -> Option<&'static str> {
        match (&self.broken, &self.differs) {
            (Some(_), _) => Some("restore a copy with `anomalyzer history restore`"),
            (None, Some(_)) => Some(
                "stop the service, keep a copy of the file as evidence, and make the tables anew from the events with \
                 `anomalyzer audit rebuild`",
            ),
            (None, None) => None,
        }
    }

    /// Returns true if every anchor of this chain is of a pruned event. Nothing outside the file
    /// then shows that the remaining events are the recorded ones.
    pub fn is_unproven(&self) -> bool {
        self.pruned_anchors > 0 && self.anchored == 0
    }

    /// Returns true if the chain and its tables are as recorded.
    pub fn is_intact(&self) -> bool {
        self.broken.is_none() && self.differs.is_none()
    }
}
