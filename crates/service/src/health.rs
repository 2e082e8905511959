//! Health of each part, for `/health`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

/// Condition of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The part works.
    Ok,
    /// The part works less well than it should.
    Degraded,
    /// The part does not work.
    Broken,
}

/// Condition of a part, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Condition.
    pub status: Status,
    /// Reason in words.
    pub detail: String,
}

/// Health of all parts. Clones share it.
#[derive(Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<&'static str, Part>>>,
}

impl Health {
    /// Sets the health of a part, and logs a change of its status.
    pub fn set(&self, name: &'static str, status: Status, detail: impl Into<String>) {
        let part = Part {
            status,
            detail: detail.into(),
        };
        let mut parts = self.parts.lock();
        let before = parts.insert(name, part.clone());
        if before.is_some_and(|before| before.status != status) {
            match status {
                Status::Ok => {
                    tracing::info!(part = name, detail = part.detail, "part works again");
                }
                _ => tracing::warn!(
                    part = name,
                    detail = part.detail,
                    "part does not work as it should"
                ),
            }
        }
    }

    /// Returns the health of all parts.
    pub fn parts(&self) -> BTreeMap<&'static str, Part> {
        self.parts.lock().clone()
    }
}
