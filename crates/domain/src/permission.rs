//! Permissions: what an action is granted, and how far the host may go by itself.

use serde::{Deserialize, Serialize};

use super::{ConfigIssue, Operation};

/// One operation granted to one action by the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Name of the action's plugin, as `scale-up`.
    pub plugin: String,
    /// `scale`, `restart`, `patch`, `http`, `notify`, `inspect`, `read_logs`, `query`, …
    pub operation: String,
    /// `Deployment`, `Deployment/spec/template/spec`, `hooks.example.com:443`,
    /// `https://hooks.example.com:*`, or `*`.
    #[serde(default = "anything")]
    pub scope: String,
    /// On targets in these namespaces only; `*` is any.
    #[serde(default = "anywhere")]
    pub namespaces: Vec<String>,
}

/// One operation granted to an action whose name is given elsewhere: the form that the API and the
/// CLI set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// `scale`, `restart`, `patch`, `http`, `notify`, `inspect`, `read_logs`, `query`, …
    pub operation: String,
    /// `Deployment`, `Deployment/spec/template/spec`, `hooks.example.com:443`, or `*`.
    #[serde(default = "anything")]
    pub scope: String,
    /// On targets in these namespaces only; `*` is any. For a request or a notice it is the
    /// namespace of what the incident is about.
    #[serde(default = "anywhere")]
    pub namespaces: Vec<String>,
}

impl Grant {
    /// Grants `operation` to `plugin` with every scope in every namespace.
    pub fn everywhere(plugin: &str, operation: &str) -> Self {
        Self {
            plugin: plugin.to_owned(),
            operation: operation.to_owned(),
            scope: anything(),
            namespaces: anywhere(),
        }
    }

    /// Checks the name of the operation.
    ///
    /// # Errors
    /// Returns an error if the host has no operation of that name.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        let operation = self.operation.replace('-', "_");
        if Operation::KINDS.contains(&operation.as_str()) {
            return Ok(());
        }
        let message = format!(
            "there is no operation `{}` to grant to `{}`: use one of {}",
            self.operation,
            self.plugin,
            Operation::KINDS.join(", ")
        );
        Err(ConfigIssue::at("operation", message))
    }
}

fn anything() -> String {
    "*".to_owned()
}

fn anywhere() -> Vec<String> {
    vec![anything()]
}

/// Autonomy of the host.
///
/// Modes are ordered by autonomy. If several modes apply, the strictest one counts, which is the
/// smallest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Decides and records everything, but performs nothing. This is a dry run.
    Shadow,
    /// A person must approve each operation.
    Approve,
    /// The host acts by itself.
    #[default]
    Auto,
}

impl Mode {
    /// Returns the mode's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Approve => "approve",
            Self::Auto => "auto",
        }
    }
}
