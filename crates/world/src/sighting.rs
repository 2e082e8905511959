//! Facts of one source, with their age.

use serde::{Deserialize, Serialize};

use anomalyzer_domain::UnixMs;

/// Count of calls over an edge, as a source reports it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Calls {
    /// The source does not count.
    Unknown,
    /// Number of calls in the newest window.
    Window(f64),
    /// Value of a counter that only grows, until it is reset.
    Counter(f64),
}

/// Facts of one source about an entity or an edge.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Time of the first sight.
    pub first_seen: UnixMs,
    /// Time of the newest sight.
    pub last_seen: UnixMs,
    /// Number of calls in the newest window; `None` if the source does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<f64>,
    /// Newest value of the source's counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<f64>,
}

impl Sighting {
    /// Returns a first sight without counts.
    pub fn new(at: UnixMs) -> Self {
        Self {
            first_seen: at,
            last_seen: at,
            calls: None,
            counter: None,
        }
    }

    /// Adds a later or an earlier sight.
    pub(crate) fn add(&mut self, at: UnixMs, calls: Calls) {
        self.first_seen = self.first_seen.min(at);
        // The counts of an older message say nothing about the newest window.
        let is_newest = at >= self.last_seen;
        self.last_seen = self.last_seen.max(at);
        if !is_newest {
            return;
        }
        match calls {
            Calls::Window(calls) if is_count(calls) => self.calls = Some(calls),
            Calls::Counter(value) if is_count(value) => {
                // A value below its predecessor is a reset: the counter began again at zero.
                self.calls = self.counter.map(|before| {
                    if value >= before {
                        value - before
                    } else {
                        value
                    }
                });
                self.counter = Some(value);
            }
            Calls::Unknown | Calls::Window(_) | Calls::Counter(_) => {}
        }
    }
}

fn is_count(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}
