//! Operations: typed side effects or reads that an action requests.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Target;

/// Merge patch (RFC 7396).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MergePatch {
    /// Target to patch.
    pub target: Target,
    /// Content of the patch.
    pub patch: Value,
}

/// Request for log lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    /// Target whose log is read.
    pub target: Target,
    /// Number of last lines per replica.
    pub lines: u32,
    /// True to read the log of the previous run.
    pub previous: bool,
}

/// HTTP request. The host adds credentials and does not follow redirects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// HTTP method.
    pub method: String,
    /// Absolute URL of the request.
    pub url: String,
    /// Names and values of the headers.
    pub headers: Vec<(String, String)>,
    /// Request body.
    pub body: Option<Vec<u8>>,
}

/// Message to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Name of the configured channel; `default` for all channels marked as default.
    pub channel: String,
    /// Title, in one line.
    pub title: String,
    /// Body of the message.
    pub text: String,
}

/// Request of an action to the host. Values are absolute: scale to N, not by N.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Operation {
    /// Inspects a target.
    Inspect {
        /// Target to inspect.
        target: Target,
    },
    /// Reads log lines.
    ReadLogs(LogRequest),
    /// Queries the metrics source (PromQL).
    Query {
        /// Query in PromQL.
        query: String,
    },
    /// Scales a target to `replicas`.
    Scale {
        /// Target to scale.
        target: Target,
        /// Desired number of replicas.
        replicas: u32,
    },
    /// Restarts a target, replica by replica.
    Restart {
        /// Target to restart.
        target: Target,
    },
    /// Rolls a target back to its previous revision.
    RollBack {
        /// Target to roll back.
        target: Target,
    },
    /// Changes fields of a target.
    Patch(MergePatch),
    /// Sends an HTTP request.
    Http(HttpRequest),
    /// Notifies people.
    Notify(Notice),
    /// Operation identified by name, for capabilities that the host gains later.
    Custom {
        /// Name of the operation.
        name: String,
        /// Arguments, as JSON.
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

    /// Returns the name of the operation in grants and records.
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

    /// Returns true if the operation only reads. A dry run performs reads too.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Inspect { .. } | Self::ReadLogs(_) | Self::Query { .. }
        )
    }

    /// Returns true if the operation replaces the pods of a target.
    pub fn replaces_pods(&self) -> bool {
        match self {
            Self::Restart { .. } | Self::RollBack { .. } => true,
            Self::Patch(patch) => patch.patch.pointer("/spec/template").is_some(),
            _ => false,
        }
    }

    /// Returns the target that the operation touches. None for operations without a target (HTTP,
    /// notices, queries, custom operations).
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
