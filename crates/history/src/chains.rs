//! The chains of events, and their heads, breaks and differences.

use serde::{Deserialize, Serialize};

/// One of the chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Chain {
    /// Events of decisions.
    Decisions,
    /// Events of plugins.
    Plugins,
    /// Events of incidents.
    Incidents,
    /// Cuts of the other chains by the retention.
    Cuts,
}

impl Chain {
    /// All chains.
    pub const ALL: [Self; 4] = [Self::Decisions, Self::Plugins, Self::Incidents, Self::Cuts];

    /// Returns the name of the chain in texts and anchors.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the table of the events.
    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::Decisions => "decision_events",
            Self::Plugins => "plugin_events",
            Self::Incidents => "incident_events",
            Self::Cuts => "cut_events",
        }
    }

    /// Returns the column with the subject of an event.
    pub(super) const fn subject(self) -> &'static str {
        match self {
            Self::Decisions => "decision",
            Self::Plugins => "plugin",
            Self::Incidents => "incident",
            Self::Cuts => "chain",
        }
    }

    /// Returns the table of the cuts, if the retention prunes the chain.
    pub(super) const fn cuts(self) -> Option<&'static str> {
        match self {
            Self::Decisions => Some("cuts"),
            Self::Incidents => Some("incident_cuts"),
            Self::Plugins | Self::Cuts => None,
        }
    }

    /// Returns the query for all events of the chain, oldest first.
    pub(super) const fn query(self) -> &'static str {
        match self {
            Self::Decisions => {
                "SELECT seq, decision, at, kind, body, prev_hash, hash FROM decision_events ORDER BY seq"
            }
            Self::Plugins => {
                "SELECT seq, plugin, at, kind, body, prev_hash, hash FROM plugin_events ORDER BY seq"
            }
            Self::Incidents => {
                "SELECT seq, incident, at, kind, body, prev_hash, hash FROM incident_events ORDER BY seq"
            }
            Self::Cuts => {
                "SELECT seq, chain, at, kind, body, prev_hash, hash FROM cut_events ORDER BY seq"
            }
        }
    }
}

/// Head of a chain that was kept outside the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Chain of the head.
    pub chain: Chain,
    /// Sequence number of the event.
    pub seq: i64,
    /// SHA-256 of the event in hex.
    pub hash: String,
}

/// First event that differs from the recorded one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// Sequence number of the event.
    pub seq: i64,
    /// Decision or plugin of the event; None if the event itself is missing.
    pub subject: Option<String>,
    /// Description of the difference.
    pub what: String,
}

/// First row of a table that is not as the last event about it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Name of the table.
    pub table: &'static str,
    /// Id of the row.
    pub row: String,
    /// Description of the difference.
    pub what: String,
}

#[cfg(test)]
mod tests {
    use super::Chain;
    use anomalyzer_domain::testing::assert_names;

    #[test]
    fn the_names_are_those_in_the_anchors() {
        let names = ["decisions", "plugins", "incidents", "cuts"];
        assert_names::<Chain>(&names);
        assert_eq!(Chain::ALL.map(Chain::as_str), names);
    }
}
