//! One typed side effect or read that an action asks for.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Target;

/// A merge patch (RFC 7396).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MergePatch {
    /// What is patched.
    pub target: Target,
    /// The patch.
    pub patch: Value,
}

/// Which log lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    /// Whose log.
    pub target: Target,
    /// How many of the last lines of each replica.
    pub lines: u32,
    /// Of the run before this one.
    pub previous: bool,
}

/// An HTTP request. Credentials are added by the host, redirects are not followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Method.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Option<Vec<u8>>,
}

/// A message to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The configured channel; `default` for all that are marked so.
    pub channel: String,
    /// One line.
    pub title: String,
    /// The rest.
    pub text: String,
}

/// What an action asks the host to do. Absolute: scale to N, not by N.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Operation {
    /// Look at a target.
    Inspect {
        /// At what.
        target: Target,
    },
    /// Read log lines.
    ReadLogs(LogRequest),
    /// Ask the metrics source (PromQL).
    Query {
        /// The query.
        query: String,
    },
    /// Scale to that many replicas.
    Scale {
        /// What.
        target: Target,
        /// To how many.
        replicas: u32,
    },
    /// Restart, replica by replica.
    Restart {
        /// What.
        target: Target,
    },
    /// Go back to the revision before.
    RollBack {
        /// What.
        target: Target,
    },
    /// Change fields.
    Patch(MergePatch),
    /// Send a request.
    Http(HttpRequest),
    /// Tell people.
    Notify(Notice),
    /// By name, for what the host learns to do later.
    Custom {
        /// Which.
        name: String,
        /// JSON.
        arguments: Value,
    },
}

impl Operation {
    /// Names of the operations that the host can perform, as [`kind`](Self::kind) returns them.
    pub const KINDS: [&str; 9] = [
        "scale",
        "restart",
        "roll_back",
        "patch",
        "http",
        "notify",
        "inspect",
        "read_logs",
        "query",
    ];

    /// The name by which grants and records call it.
    pub fn kind(&self) -> &str {
        match self {
            Self::Inspect { .. } => "inspect",
            Self::ReadLogs(_) => "read_logs",
            Self::Query { .. } => "query",
            Self::Scale { .. } => "scale",
            Self::Restart { .. } => "restart",
            Self::RollBack { .. } => "roll_back",
            Self::Patch(_) => "patch",
            Self::Http(_) => "http",
            Self::Notify(_) => "notify",
            Self::Custom { name, .. } => name,
        }
    }

    /// Whether it only reads, so that a dry run performs it too.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Inspect { .. } | Self::ReadLogs(_) | Self::Query { .. }
        )
    }

    /// What it touches. None for what has no target (HTTP, notices, queries).
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Inspect { target }
            | Self::Scale { target, .. }
            | Self::Restart { target }
            | Self::RollBack { target } => Some(target),
            Self::ReadLogs(request) => Some(&request.target),
            Self::Patch(patch) => Some(&patch.target),
            Self::Query { .. } | Self::Http(_) | Self::Notify(_) | Self::Custom { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_kinds_has_every_operation_that_the_host_can_perform() {
        let target = || Target::new("shop", "Deployment", "web");
        let operations = [
            Operation::Scale {
                target: target(),
                replicas: 2,
            },
            Operation::Restart { target: target() },
            Operation::RollBack { target: target() },
            Operation::Patch(MergePatch {
                target: target(),
                patch: Value::Null,
            }),
            Operation::Http(HttpRequest {
                method: "GET".into(),
                url: "http://127.0.0.1/".into(),
                headers: vec![],
                body: None,
            }),
            Operation::Notify(Notice {
                channel: "log".into(),
                title: String::new(),
                text: String::new(),
            }),
            Operation::Inspect { target: target() },
            Operation::ReadLogs(LogRequest {
                target: target(),
                lines: 1,
                previous: false,
            }),
            Operation::Query { query: "up".into() },
        ];
        assert_eq!(operations.each_ref().map(Operation::kind), Operation::KINDS);
    }
}
