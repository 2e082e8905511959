//! Selects the samples of a scrape that a derivation uses: `http_requests_total{path="/checkout",
//! status!="503"}`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::Labels;

use super::cursor::Cursor;

/// A metric and conditions on its labels. A missing label counts as empty, as in PromQL. Unlike
/// PromQL, there is no `=~`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    /// The metric. For a histogram, its name without `_bucket`.
    pub metric: String,
    matchers: Vec<Matcher>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Matcher {
    label: String,
    equal: bool,
    value: String,
}

/// Error of a text that is not a selector.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is not a selector: {reason}; write for example http_requests_total{{path=\"/checkout\", status!=\"503\"}}"
)]
pub struct ParseSelectorError {
    text: String,
    reason: String,
}

impl Selector {
    /// Returns a selector with the same label conditions for another metric.
    #[must_use]
    pub(super) fn of_metric(&self, metric: String) -> Self {
        Self {
            metric,
            matchers: self.matchers.clone(),
        }
    }

    /// Returns true if the selector matches a sample with these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(
            |Matcher {
                 label,
                 equal,
                 value,
             }| (labels.get(label).unwrap_or_default() == value) == *equal,
        )
    }

    /// Returns true if a source with these labels can have a matching sample. A label that the
    /// source does not set may be set by the sample.
    pub fn may_match(&self, source: &Labels) -> bool {
        self.matchers.iter().all(
            |Matcher {
                 label,
                 equal,
                 value,
             }| {
                source
                    .get(label)
                    .is_none_or(|have| (have == value) == *equal)
            },
        )
    }
}

impl FromStr for Selector {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| ParseSelectorError {
            text: text.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Selector, String> {
    let mut cursor = Cursor::new(text.trim());
    let metric = cursor.name()?.to_owned();
    let mut matchers = Vec::new();
    cursor.skip_blanks();
    if cursor.take("{") {
        loop {
            cursor.skip_blanks();
            if cursor.take("}") {
                break;
            }
            let label = cursor.name()?.to_owned();
            cursor.skip_blanks();
            if ["=~", "!~"].iter().any(|regex| cursor.take(regex)) {
                return Err("regular expressions need a PromQL query".to_owned());
            }
            let equal = !cursor.take("!");
            if !cursor.take("=") {
                return Err(format!(
                    "`=` or `!=` is expected where {} stands",
                    cursor.here()
                ));
            }
            cursor.skip_blanks();
            matchers.push(Matcher {
                label,
                equal,
                value: cursor.quoted()?,
            });
            cursor.skip_blanks();
            if !cursor.take(",") && !cursor.rest().starts_with('}') {
                return Err(format!(
                    "`,` or `}}` is expected where {} stands",
                    cursor.here()
                ));
            }
        }
    }
    if cursor.rest().is_empty() {
        Ok(Selector { metric, matchers })
    } else {
        Err(format!("{} is too much", cursor.here()))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        for (
            index,
            Matcher {
                label,
                equal,
                value,
            },
        ) in self.matchers.iter().enumerate()
        {
            let value = value
                .replace('\\', r"\\")
                .replace('"', "\\\"")
                .replace('\n', r"\n");
            write!(
                f,
                "{}{label}{}=\"{value}\"",
                if index == 0 { "{" } else { ", " },
                if *equal { "" } else { "!" }
            )?;
        }
        f.write_str(if self.matchers.is_empty() { "" } else { "}" })
    }
}

impl TryFrom<String> for Selector {
    type Error = ParseSelectorError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_label_is_empty_in_a_sample_and_open_in_a_source() {
        let selector: Selector = r#"m{path="/a", status!="503"}"#.parse().unwrap();
        assert!(selector.matches(&Labels::new([("path", "/a")])));
        assert!(selector.matches(&Labels::new([("path", "/a"), ("status", "200")])));
        assert!(!selector.matches(&Labels::new([("path", "/a"), ("status", "503")])));
        assert!(!selector.matches(&Labels::default()));
        assert!(selector.may_match(&Labels::default()));
        assert!(!selector.may_match(&Labels::new([("path", "/b")])));
    }

    #[test]
    fn a_selector_survives_the_way_through_text() {
        for text in ["m", r#"m{a="b", a!="c"}"#, r#"m{a="\\\"\n"}"#] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_selector_is_refused_with_the_reason() {
        for (text, says) in [
            ("", "a name is expected"),
            ("rate(m[5m])", "`(m[5m])` is too much"),
            (r#"m{a=~"b.*"}"#, "regular expressions need a PromQL query"),
            (r#"m{a>"b"}"#, "`=` or `!=` is expected"),
            (r#"m{a="b""#, "`,` or `}` is expected where the line ends"),
        ] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
