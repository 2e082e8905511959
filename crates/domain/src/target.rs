//! Targets of actions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::{NameError, check_name};

/// Kind of a process group on this machine, as a target names it.
pub const PROCESS_KIND: &str = "Process";

/// Object that an action can change. As text: `cluster/namespace/kind/name`; the namespace is empty
/// for an object without one.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name of the cluster. Never empty: a single cluster is called `default`.
    #[serde(default = "default_cluster")]
    pub cluster: String,
    /// Namespace; empty for an object without one.
    #[serde(default)]
    pub namespace: String,
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Pod`, `Process`, or `Kind.group`.
    pub kind: String,
    /// Name of the object.
    pub name: String,
}

fn default_cluster() -> String {
    "default".to_owned()
}

/// Error for a text that is not a target.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a target: write cluster/namespace/kind/name, for example default/shop/Deployment/web"
)]
pub struct ParseTargetError(String);

/// Error for a part of a target from outside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetPartError {
    /// The part is too long or has hidden characters.
    #[error("the {part} of the target {why}")]
    Name {
        /// Name of the part.
        part: &'static str,
        /// Reason.
        why: NameError,
    },
    /// The part has a slash.
    #[error("the {0} of the target holds a slash")]
    Slash(&'static str),
    /// The part is empty.
    #[error("the {0} of the target is empty")]
    Empty(&'static str),
}

impl Target {
    /// Creates a target in the cluster `default`.
    pub fn new(namespace: &str, kind: &str, name: &str) -> Self {
        Self {
            cluster: default_cluster(),
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Maximum length in bytes of each part, as of the names of Kubernetes objects.
    pub const MAX_PART_BYTES: usize = 253;

    /// Checks the parts of a target from outside: bounded, visible, without a slash, and not empty
    /// except for the namespace. Records of earlier versions may hold other targets.
    ///
    /// # Errors
    /// Returns the name of the first wrong part, and the reason.
    pub fn check(&self) -> Result<(), TargetPartError> {
        for (part, text) in [
            ("cluster", &self.cluster),
            ("namespace", &self.namespace),
            ("kind", &self.kind),
            ("name", &self.name),
        ] {
            check_name(text, Self::MAX_PART_BYTES)
                .map_err(|why| TargetPartError::Name { part, why })?;
            if text.contains('/') {
                return Err(TargetPartError::Slash(part));
            }
            if text.is_empty() && part != "namespace" {
                return Err(TargetPartError::Empty(part));
            }
        }
        Ok(())
    }

    /// Returns the key of messages about this target.
    pub fn key(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.cluster, self.namespace, self.kind, self.name
        )
    }
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let [cluster, namespace, kind, name] = parts[..] else {
            return Err(ParseTargetError(text.to_owned()));
        };
        if cluster.is_empty() || kind.is_empty() || name.is_empty() {
            return Err(ParseTargetError(text.to_owned()));
        }
        Ok(Self {
            cluster: cluster.into(),
            namespace: namespace.into(),
            kind: kind.into(),
            name: name.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_survives_the_way_through_text() {
        for target in [
            Target::new("shop", "Deployment", "web"),
            Target::new("", "Process", "web"),
        ] {
            assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
        }
        assert!("shop/web".parse::<Target>().is_err());
    }

    #[test]
    fn each_part_of_a_target_from_outside_is_checked() {
        assert_eq!(Target::new("", "Process", "web").check(), Ok(()));
        for wrong in ["a\nb", "\u{202e}", "a/b", &"x".repeat(254)] {
            for part in 0..4 {
                let mut target = Target::new("shop", "Deployment", "web");
                let place = match part {
                    0 => &mut target.cluster,
                    1 => &mut target.namespace,
                    2 => &mut target.kind,
                    _ => &mut target.name,
                };
                *place = wrong.to_owned();
                assert!(target.check().is_err(), "{target:?}");
            }
        }
        assert!(Target::new("shop", "", "web").check().is_err());
    }
}
