//! How each part is, for `/health`.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In working order.
    Ok,
    /// It works, not as well as it should.
    Degraded,
    /// It does not work.
    Broken,
}

/// How a part is, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// How it is.
    pub status: Status,
    /// In words.
    pub detail: String,
}

/// How all parts are, shared.
#[derive(Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<&'static str, Part>>>,
}

impl Health {
    /// Says how a part is; a change is logged once.
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
                    tracing::info!(part = name, detail = part.detail, "in working order again")
                }
                _ => tracing::warn!(part = name, detail = part.detail, "not in working order"),
            }
        }
    }

    /// All parts.
    pub fn parts(&self) -> BTreeMap<&'static str, Part> {
        self.parts.lock().clone()
    }
}
