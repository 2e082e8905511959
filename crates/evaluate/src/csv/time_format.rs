//! Form of the times of a column, as a user names it with `--time-format`.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::calendar::Order;
use anomalyzer_domain::UnixMs;

/// Form of the times of a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeFormat(pub(super) Form);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Dated(Order),
    Number(Unit),
    Pattern(String),
}

/// Meaning of a number that is a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// Microseconds since 1970.
    Microseconds,
    /// Nanoseconds since 1970.
    Nanoseconds,
    /// Days since 1899-12-30, as in spreadsheets.
    Days,
}

const NAMED: [(&str, Form); 8] = [
    ("mdy", Form::Dated(Order::MonthDayYear)),
    ("dmy", Form::Dated(Order::DayMonthYear)),
    ("ymd", Form::Dated(Order::YearMonthDay)),
    ("s", Form::Number(Unit::Seconds)),
    ("ms", Form::Number(Unit::Milliseconds)),
    ("us", Form::Number(Unit::Microseconds)),
    ("ns", Form::Number(Unit::Nanoseconds)),
    ("excel", Form::Number(Unit::Days)),
];

impl FromStr for TimeFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, form)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(Self(form.clone()));
        }
        let pattern = text.contains('%');
        let sample = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let why = match BrokenDownTime::from(&sample).to_string(text) {
            Ok(_) if pattern => return Ok(Self(Form::Pattern(text.to_owned()))),
            Ok(_) => "it names no part of a time".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(format!(
            "{why}: say mdy, dmy, ymd, s, ms, us, ns, excel, or a pattern like `%d.%m.%Y %H:%M`"
        ))
    }
}

impl TryFrom<String> for TimeFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TimeFormat> for String {
    fn from(format: TimeFormat) -> Self {
        format.to_string()
    }
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMED.iter().find(|(_, form)| *form == self.0);
        match (named, &self.0) {
            (Some((name, _)), _) => f.write_str(name),
            (None, Form::Pattern(pattern)) => f.write_str(pattern),
            (None, _) => Ok(()),
        }
    }
}

/// Reads a time by a pattern. Without a zone it is in UTC, and without a clock at midnight.
pub(super) fn by_pattern(pattern: &str, text: &str) -> Option<UnixMs> {
    let parsed = strtime::parse(pattern, text).ok()?;
    let at = match (parsed.timestamp(), parsed.offset()) {
        (None, None) => TimeZone::UTC.to_timestamp(parsed.to_datetime().ok()?),
        _ => parsed.to_timestamp(),
    }
    .ok()?;
    Some(at.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_a_name_or_is_a_pattern() {
        for text in NAMED
            .iter()
            .map(|(name, _)| *name)
            .chain(["%d.%m.%Y %H:%M"])
        {
            let format: TimeFormat = text.parse().unwrap();
            assert_eq!(format.to_string(), text);
        }
        for text in ["", "soon", "yyyy-mm-dd", "%Q%!", "%"] {
            let error = text.parse::<TimeFormat>().unwrap_err();
            assert!(error.contains("excel"), "{text}: {error}");
        }
    }

    #[test]
    fn a_pattern_reads_what_it_describes() {
        let at = Some(1_711_757_100_000);
        for (pattern, text) in [
            ("%d.%m.%Y %H:%M", "30.03.2024 00:05"),
            ("%Y%m%d-%H%M%S", "20240330-000500"),
            ("%d/%b/%Y:%H:%M:%S %z", "30/Mar/2024:02:05:00 +0200"),
            ("%m/%d/%Y %I:%M %p", "03/30/2024 12:05 AM"),
            ("%s", "1711757100"),
        ] {
            assert_eq!(by_pattern(pattern, text), at, "{pattern}");
        }
        assert_eq!(
            by_pattern("%d.%m.%Y", "30.03.2024"),
            at.map(|at| at - 300_000)
        );
        assert_eq!(by_pattern("%d.%m.%Y", "30.03.2024 00:05"), None);
        assert_eq!(by_pattern("%H:%M", "00:05"), None);
    }
}
