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
    /// Effect of the request, for `http` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<DeclaredEffect>,
}

/// Effect of an HTTP request on the target of its decision, as declared by the person who grants
/// it. The host cannot see what the receiver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DeclaredEffect {
    /// The request changes the number of replicas, to a number that is not known.
    Replicas,
    /// The request changes the template of the replicas, so that they are replaced or restarted.
    Template,
    /// The request changes the environment of the replicas, so that they are replaced.
    Environment,
    /// The request changes nothing of the target.
    None,
}

impl DeclaredEffect {
    /// All effects.
    pub const ALL: [Self; 4] = [
        Self::Replicas,
        Self::Template,
        Self::Environment,
        Self::None,
    ];

    /// Returns the name in the configuration.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
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
    /// Effect of the request, for `http` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<DeclaredEffect>,
}

impl Allowance {
    /// Checks that an effect is declared only where the host cannot see it.
    ///
    /// # Errors
    /// Returns an error if an effect is declared for another operation than `http`.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        check_effect(&self.operation, self.effect)
    }
}

fn check_effect(operation: &str, effect: Option<DeclaredEffect>) -> Result<(), ConfigIssue> {
    if effect.is_none() || operation == "http" {
        return Ok(());
    }
    let message = format!(
        "the effect of `{operation}` follows from the operation: declare an effect of `http` only"
    );
    Err(ConfigIssue::at("effect", message))
}

impl Grant {
    /// Grants `operation` to `plugin` with every scope in every namespace.
    pub fn everywhere(plugin: &str, operation: &str) -> Self {
        Self {
            plugin: plugin.to_owned(),
            operation: operation.to_owned(),
            scope: anything(),
            namespaces: anywhere(),
            effect: None,
        }
    }

    /// Checks the name of the operation, and the declared effect.
    ///
    /// # Errors
    /// Returns an error if the host has no operation of that name, or if an effect is declared for
    /// another operation than `http`.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        let operation = self.operation.replace('-', "_");
        if Operation::KINDS.contains(&operation.as_str()) {
            return check_effect(&self.operation, self.effect);
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
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
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
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::{DeclaredEffect, Mode};
    use crate::testing::assert_names;

    #[test]
    fn the_names_are_those_of_the_configuration() {
        assert_names::<Mode>(&["shadow", "approve", "auto"]);
        let effects = ["replicas", "template", "environment", "none"];
        assert_names::<DeclaredEffect>(&effects);
        assert_eq!(DeclaredEffect::ALL.map(DeclaredEffect::as_str), effects);
    }
}
