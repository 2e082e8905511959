//! Labels of a series.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::text::{NameError, check_name, is_hidden, one_line};

/// Maximum number of labels of a series from outside.
pub const MAX_LABELS: usize = 128;
/// Maximum length of a label's name from outside, in bytes.
pub const MAX_LABEL_NAME_BYTES: usize = 1024;
/// Maximum length of a label's value from outside, in bytes.
pub const MAX_LABEL_VALUE_BYTES: usize = 16 << 10;
/// Maximum length of all names and values of a series from outside, in bytes.
pub const MAX_LABELS_BYTES: usize = 64 << 10;
/// Maximum number of characters of a label's name in a message.
const MAX_SHOWN_NAME: usize = 60;

/// Reason why the labels of a series from outside can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// There are too many labels.
    #[error("has more than {MAX_LABELS} labels")]
    TooMany,
    /// All names and values together are too long.
    #[error("has {size} bytes of labels, and at most {MAX_LABELS_BYTES} are allowed")]
    TooLarge {
        /// Size in bytes.
        size: usize,
    },
    /// The name of a label can't be used.
    #[error("has a label whose name {0}")]
    Name(NameError),
    /// The value of a label can't be used.
    #[error("has the label `{name}` whose value {error}")]
    Value {
        /// Name of the label.
        name: String,
        /// Problem.
        error: NameError,
    },
}

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

    /// Checks labels from outside: their number, their length, and that all characters are visible.
    /// The metric's name does not count among them.
    ///
    /// # Errors
    /// Returns the first problem.
    pub fn check(&self) -> Result<(), LabelsError> {
        let counted = || self.iter().filter(|(name, _)| *name != "__name__");
        if counted().count() > MAX_LABELS {
            return Err(LabelsError::TooMany);
        }
        for (name, value) in self.iter() {
            check_name(name, MAX_LABEL_NAME_BYTES).map_err(LabelsError::Name)?;
            check_name(value, MAX_LABEL_VALUE_BYTES).map_err(|error| LabelsError::Value {
                name: one_line(name, MAX_SHOWN_NAME),
                error,
            })?;
        }
        let size = counted()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        match size > MAX_LABELS_BYTES {
            true => Err(LabelsError::TooLarge { size }),
            false => Ok(()),
        }
    }

    /// Returns a short text of the labels on one line, without hidden characters, for a message
    /// about labels that can't be used.
    pub fn excerpt(&self, max: usize) -> String {
        let mut text = String::new();
        for (name, value) in self.iter() {
            let names = one_line(name, max);
            let value = one_line(value, max);
            let blank = if text.is_empty() { "" } else { ", " };
            text.push_str(&format!("{blank}{names}={value:?}"));
            if text.len() > max {
                break;
            }
        }
        format!("{{{}}}", one_line(&text, max)).replace(is_hidden, " ")
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

    #[test]
    fn labels_from_outside_are_visible_and_bounded() {
        let one = |name: &str, value: &str| Labels::new([(name, value)]);
        let many = |count: usize, size: usize| {
            Labels::new((0..count).map(|at| (format!("l{at:03}"), "v".repeat(size))))
        };
        for (labels, problem) in [
            (Labels::default(), None),
            (one("path", "/ä/ウェブ 👍"), None),
            (many(MAX_LABELS, 1).with("__name__", "traffic"), None),
            (many(MAX_LABELS + 1, 1), Some("has more than 128 labels")),
            (one(&"n".repeat(1024), ""), None),
            (
                one(&"n".repeat(1025), ""),
                Some("has a label whose name has 1025 bytes"),
            ),
            (one("v", &"v".repeat(16_384)), None),
            (
                one("v", &"v".repeat(16_385)),
                Some("label `v` whose value has 16385 bytes"),
            ),
            (many(5, 16_000), Some("has 80020 bytes of labels")),
            (
                one("a\nb", "x"),
                Some("has a label whose name holds the hidden"),
            ),
            (
                one("a", "x\ny"),
                Some("label `a` whose value holds the hidden character U+000A"),
            ),
            (one("a", "\u{1b}[2J"), Some("U+001B")),
            (one("pod", "we\u{202e}b"), Some("U+202E")),
            (one("pod", "\u{200b}web"), Some("U+200B")),
            (one("pod", "\u{2066}web\u{2069}"), Some("U+2066")),
            (one("pod", "web\u{2028}"), Some("U+2028")),
            (one("pod", "\u{e0041}web"), Some("U+E0041")),
        ] {
            match (labels.check(), problem) {
                (Ok(()), None) => {}
                (Err(error), Some(problem)) => {
                    let error = error.to_string();
                    assert!(error.contains(problem), "{error}");
                    assert!(!error.contains(is_hidden), "{error:?}");
                }
                (checked, problem) => panic!("{checked:?}, and not {problem:?}"),
            }
            let shown = labels.excerpt(100);
            assert!(
                shown.chars().count() <= 103 && !shown.contains(is_hidden),
                "{shown:?}"
            );
        }
    }
}
