//! Labels of a series.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Label names and values, sorted by name; names are unique.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(
    from = "std::collections::BTreeMap<String, String>",
    into = "std::collections::BTreeMap<String, String>"
)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// Sorts the pairs by name. If a name occurs twice, the last value is used.
    pub fn new<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs: Vec<(String, String)> = pairs
            .into_iter()
            .map(|(n, v)| (n.into(), v.into()))
            .collect();
        // Most callers pass sorted labels.
        if pairs.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Self(pairs);
        }
        pairs
            .into_iter()
            .collect::<std::collections::BTreeMap<_, _>>()
            .into()
    }

    /// Returns the value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .binary_search_by(|(n, _)| n.as_str().cmp(name))
            .ok()
            .map(|at| self.0[at].1.as_str())
    }

    /// Returns the pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Returns the number of labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there are no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns a copy of the labels with the label `name` set to `value`.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        Self::new(
            self.iter()
                .filter(|(n, _)| *n != name)
                .chain([(name, value)]),
        )
    }
}

impl From<std::collections::BTreeMap<String, String>> for Labels {
    fn from(map: std::collections::BTreeMap<String, String>) -> Self {
        Self(map.into_iter().collect())
    }
}

impl From<Labels> for std::collections::BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0.into_iter().collect()
    }
}

/// Formats labels in PromQL notation: `{name="value", …}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_sorted_and_the_last_of_a_name_counts() {
        let sorted = Labels::new([("a", "1"), ("b", "2")]);
        assert_eq!(Labels::new([("b", "0"), ("a", "1"), ("b", "2")]), sorted);
        assert_eq!(Labels::new([("a", "0"), ("a", "1"), ("b", "2")]), sorted);
        assert_eq!(sorted.to_string(), "{a=\"1\", b=\"2\"}");
    }
}
