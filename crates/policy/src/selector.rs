//! Selects targets by name patterns.

use serde::{Deserialize, Serialize};

use anomalyzer_domain::Target;

/// Patterns for targets. A missing field matches everything. `*` stands for any characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    /// Pattern for the cluster.
    pub cluster: Option<String>,
    /// Pattern for the namespace.
    pub namespace: Option<String>,
    /// Pattern for the kind, such as `Deployment`.
    pub kind: Option<String>,
    /// Pattern for the name.
    pub name: Option<String>,
}

impl Selector {
    /// Returns true if the target matches all patterns.
    pub fn matches(&self, target: &Target) -> bool {
        [
            (&self.cluster, &target.cluster),
            (&self.namespace, &target.namespace),
            (&self.kind, &target.kind),
            (&self.name, &target.name),
        ]
        .into_iter()
        .all(|(pattern, text)| pattern.as_ref().is_none_or(|pattern| fits(pattern, text)))
    }
}

/// Returns true if the text matches the pattern. Each part between two stars is matched at its
/// first occurrence. The time is at most the product of both lengths.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = text.split_once(part) else {
            return false;
        };
        text = after;
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("web", "web", true),
            ("web", "web-2", false),
            ("web*", "web-2", true),
            ("*web", "my-web", true),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
            ("**", "x", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn all_that_is_said_must_match() {
        let selector = Selector {
            namespace: Some("shop".into()),
            name: Some("web*".into()),
            ..Selector::default()
        };
        assert!(selector.matches(&Target::new("shop", "Deployment", "web-1")));
        assert!(!selector.matches(&Target::new("pay", "Deployment", "web-1")));
        assert!(Selector::default().matches(&Target::new("", "Process", "x")));
    }
}
