//! Selects the samples of a scrape that a derivation uses: `http_requests_total{path="/checkout",
//! status!="503"}`. A name with other characters is in quotes: `{"http.requests",
//! "service.name"="shop"}`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::Labels;

use super::cursor::Cursor;
use super::number::parse_float;

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

impl Matcher {
    /// Returns true if the label has the value or, for `!=`, another one. Buckets and quantiles are
    /// compared as numbers, because Prometheus 3 writes `1` as `1.0`.
    fn accepts(&self, value: &str) -> bool {
        let is_number = matches!(self.label.as_str(), "le" | "quantile");
        let is_equal = match (parse_float(&self.value), parse_float(value)) {
            (Some(wanted), Some(number)) if is_number => wanted == number,
            _ => self.value == value,
        };
        is_equal == self.equal
    }
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
    pub fn of_metric(&self, metric: String) -> Self {
        Self {
            metric,
            matchers: self.matchers.clone(),
        }
    }

    /// Returns true if the selector matches a sample with these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers
            .iter()
            .all(|matcher| matcher.accepts(labels.get(&matcher.label).unwrap_or_default()))
    }

    /// Returns true if a source with these labels can have a matching sample. A label that the
    /// source does not set may be set by the sample.
    pub fn may_match(&self, source: &Labels) -> bool {
        self.matchers.iter().all(|matcher| {
            let value = source.get(&matcher.label);
            value.is_none_or(|value| matcher.accepts(value))
        })
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
    let mut metric = match cursor.rest().starts_with('{') {
        true => None,
        false => Some(cursor.name()?.to_owned()),
    };
    let mut matchers = Vec::new();
    cursor.skip_blanks();
    if cursor.take("{") {
        loop {
            cursor.skip_blanks();
            if cursor.take("}") {
                break;
            }
            let is_quoted = cursor.rest().starts_with('"');
            let label = match is_quoted {
                true => cursor.quoted()?,
                false => cursor.name()?.to_owned(),
            };
            cursor.skip_blanks();
            if is_quoted && cursor.rest().starts_with([',', '}']) {
                if metric.replace(label).is_some() {
                    return Err("it names two metrics".to_owned());
                }
                cursor.take(",");
                continue;
            }
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
    if !cursor.rest().is_empty() {
        return Err(format!("{} is too much", cursor.here()));
    }
    match metric {
        Some(metric) if !metric.is_empty() => Ok(Selector { metric, matchers }),
        _ => Err("it names no metric".to_owned()),
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |text: &str| {
            let text = text.replace('\\', r"\\").replace('"', "\\\"");
            text.replace('\n', r"\n")
        };
        let named = |name: &str| match is_plain(name) {
            true => name.to_owned(),
            false => format!("\"{}\"", escaped(name)),
        };
        let mut parts = Vec::new();
        match is_plain(&self.metric) {
            true => f.write_str(&self.metric)?,
            false => parts.push(named(&self.metric)),
        }
        for matcher in &self.matchers {
            let sign = if matcher.equal { "" } else { "!" };
            let (label, value) = (named(&matcher.label), escaped(&matcher.value));
            parts.push(format!("{label}{sign}=\"{value}\""));
        }
        match parts.is_empty() {
            true => Ok(()),
            false => write!(f, "{{{}}}", parts.join(", ")),
        }
    }
}

/// Returns true if the name needs no quotes.
fn is_plain(name: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !name.is_empty() && name.chars().all(is_name) && !name.starts_with(|c: char| c.is_ascii_digit())
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
        for text in [
            "m",
            r#"m{a="b", a!="c"}"#,
            r#"m{a="\\\"\n"}"#,
            r#"{"http.server.duration", "service.name"!="shop", b="c"}"#,
            r#"{"a\"b\\", "1"="x"}"#,
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
        let quoted: Selector = r#"{a="b","m",}"#.parse().unwrap();
        assert_eq!(quoted, r#"m{a="b"}"#.parse().unwrap());
    }

    #[test]
    fn buckets_and_quantiles_are_compared_as_numbers() {
        let labels = Labels::new([("le", "1.0"), ("version", "1.0")]);
        for (text, matches) in [
            (r#"m{le="1"}"#, true),
            (r#"m{le="1.0"}"#, true),
            (r#"m{le!="1"}"#, false),
            (r#"m{le="2"}"#, false),
            (r#"m{le=""}"#, false),
            (r#"m{version="1"}"#, false),
        ] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.matches(&labels), matches, "{text}");
        }
        let infinite: Selector = r#"m{le="+Inf"}"#.parse().unwrap();
        assert!(infinite.matches(&Labels::new([("le", "+Inf")])));
    }

    #[test]
    fn what_is_not_a_selector_is_refused_with_the_reason() {
        for (text, says) in [
            ("", "a name is expected"),
            ("rate(m[5m])", "`(m[5m])` is too much"),
            (r#"m{a=~"b.*"}"#, "regular expressions need a PromQL query"),
            (r#"m{a>"b"}"#, "`=` or `!=` is expected"),
            (r#"m{a="b""#, "`,` or `}` is expected where the line ends"),
            (r#"m{"n"}"#, "it names two metrics"),
            (r#"{a="b"}"#, "it names no metric"),
            (r#"{""}"#, "it names no metric"),
        ] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
