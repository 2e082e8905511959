//! Filters and pages of decision lists.

use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite};

use anomalyzer_domain::{DecisionState, IncidentId, Target, UnixMs, VerificationOutcome};

use super::full_text;

/// Filter of decisions. A field that is None matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Target of the decision.
    pub target: Option<Target>,
    /// Name of the action.
    pub solution: Option<String>,
    /// Outcome of the verification.
    pub outcome: Option<VerificationOutcome>,
    /// State of the decision.
    pub state: Option<DecisionState>,
    /// Incident of the decision.
    pub incident: Option<IncidentId>,
    /// Earliest time of the decision, inclusive.
    pub from: Option<UnixMs>,
    /// Latest time of the decision, exclusive.
    pub to: Option<UnixMs>,
    /// Words that the decision must all contain, in any order.
    pub text: Option<String>,
}

/// Order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Newest first.
    #[default]
    Newest,
    /// Oldest first.
    Oldest,
}

/// Part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Position after which the page starts, as returned with the previous page.
    pub after: Option<i64>,
    /// Maximum number of items.
    pub limit: u32,
    /// Order of the items.
    pub order: Order,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            after: None,
            limit: 50,
            order: Order::Newest,
        }
    }
}

impl Page {
    /// Appends the page condition. The query asks for one more row than the page holds, to tell if
    /// there is a next page.
    pub(super) fn push(&self, query: &mut QueryBuilder<Sqlite>, column: &str) {
        let (sign, direction) = match self.order {
            Order::Newest => ("<", "DESC"),
            Order::Oldest => (">", "ASC"),
        };
        if let Some(after) = self.after {
            query
                .push(format_args!(" AND {column} {sign} "))
                .push_bind(after);
        }
        query
            .push(format_args!(" ORDER BY {column} {direction} LIMIT "))
            .push_bind(i64::from(self.limit) + 1);
    }
}

impl Filter {
    /// Appends `FROM … WHERE …` and returns the column with the row number. If the filter has
    /// words, FTS5 yields the rows in order, so only the rows of one page are read.
    pub(super) fn push(&self, query: &mut QueryBuilder<Sqlite>) -> &'static str {
        let words = self
            .text
            .as_deref()
            .map(full_text::query)
            .filter(|words| !words.is_empty());
        let column = if let Some(words) = words {
            query.push(
                " FROM decision_text CROSS JOIN decisions ON decisions.seq = decision_text.rowid \
                 WHERE decision_text MATCH ",
            );
            query.push_bind(words);
            "decision_text.rowid"
        } else {
            query.push(" FROM decisions WHERE TRUE");
            "decisions.seq"
        };
        // SQLite uses an index only for the first of these conditions, and for the first two if
        // they are a state or an outcome and then a solution. The `+` prevents the use of an index
        // for the others. Otherwise SQLite, which does not know that targets are more selective
        // than outcomes, might read all decisions with the outcome `improved`.
        let unfinished = self.state.filter(|state| !state.is_terminal());
        let ended = self.state.filter(|state| state.is_terminal());
        let state = |state: Option<DecisionState>| state.map(|state| state.as_str().to_owned());
        let outcome = self.outcome.map(|outcome| outcome.as_str().to_owned());
        // Few decisions are unfinished at a time.
        let order = [
            ("incident", self.incident.as_ref().map(ToString::to_string)),
            ("state", state(unfinished)),
            ("target", self.target.as_ref().map(Target::to_string)),
            ("outcome", outcome),
            ("state", state(ended)),
            ("solution", self.solution.clone()),
        ];
        let conditions: Vec<_> = order
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        let with_words = column != "decisions.seq";
        for (at, (name, value)) in conditions.iter().enumerate() {
            let pair =
                at == 1 && *name == "solution" && matches!(conditions[0].0, "state" | "outcome");
            let plus = match with_words || at > 0 && !pair {
                true => "+",
                false => "",
            };
            query
                .push(format_args!(" AND {plus}decisions.{name} = "))
                .push_bind(value.clone());
        }
        if let Some(from) = self.from {
            query.push(" AND decisions.decided_at >= ").push_bind(from);
        }
        if let Some(to) = self.to {
            query.push(" AND decisions.decided_at < ").push_bind(to);
        }
        column
    }
}

/// Error for a text that is not a time.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a time: write RFC 3339 as 2026-01-31T12:00:00Z, or milliseconds since 1970")]
pub struct TimeError(String);

/// Parses RFC 3339, or milliseconds since 1970-01-01T00:00:00Z.
pub fn parse_time(text: &str) -> Result<UnixMs, TimeError> {
    text.parse::<i64>()
        .or_else(|_| text.parse::<Timestamp>().map(Timestamp::as_millisecond))
        .map_err(|_| TimeError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_both_forms() {
        assert_eq!(parse_time("1970-01-01T00:00:01.5Z").unwrap(), 1500);
        assert_eq!(parse_time("1970-01-01T01:00:00+01:00").unwrap(), 0);
        assert_eq!(parse_time("1500").unwrap(), 1500);
        assert!(
            parse_time("yesterday")
                .unwrap_err()
                .to_string()
                .contains("RFC 3339")
        );
    }
}
