//! Reads numbers with a decimal point or a decimal comma, and with separators of thousands.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::field::{SPACES, bare};

/// Longest text of a number, in bytes. The largest `f64` has 309 digits.
const MAX_LENGTH: usize = 400;
/// Texts of a missing value, in any case.
const MISSING: [&str; 14] = [
    "",
    "-",
    "--",
    "?",
    "null",
    "(null)",
    "nil",
    "none",
    "na",
    "n/a",
    "#n/a",
    "\\n",
    "undefined",
    "nan",
];

/// Decimal mark of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Decimal {
    /// `1,500.25`
    #[value(alias = ".")]
    Point,
    /// `1.500,25`
    #[value(alias = ",")]
    Comma,
}

/// Field of a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    /// Field without a value, or with one that is not finite.
    Missing,
    /// Number, with its value for either decimal mark.
    Written {
        point: Option<f64>,
        comma: Option<f64>,
    },
}

impl Number {
    /// Reads a field. Returns `None` if it is no number with either decimal mark.
    pub(super) fn read(field: &str) -> Option<Self> {
        let text = bare(field);
        if text.len() > MAX_LENGTH {
            return None;
        }
        // Most fields are plain numbers, and only three digits behind a point may be thousands.
        let [point, comma] = match (text.parse::<f64>(), text.find('.')) {
            (Ok(value), None) => [Some(value); 2],
            (Ok(value), Some(at)) if at + 4 != text.len() => [Some(value), None],
            _ => [Decimal::Point, Decimal::Comma].map(|decimal| value(text, decimal)),
        };
        match point.or(comma) {
            Some(value) if value.is_finite() => Some(Self::Written { point, comma }),
            Some(_) => Some(Self::Missing),
            None => MISSING
                .iter()
                .any(|missing| text.eq_ignore_ascii_case(missing))
                .then_some(Self::Missing),
        }
    }

    /// Returns the value of a field, NaN if it is missing, or `None` if it is no number.
    pub(super) fn value(field: &str, decimal: Decimal) -> Option<f64> {
        match Self::read(field)? {
            Self::Missing => Some(f64::NAN),
            Self::Written { point, comma } => match decimal {
                Decimal::Point => point,
                Decimal::Comma => comma,
            },
        }
    }
}

fn value(text: &str, decimal: Decimal) -> Option<f64> {
    let (mark, other) = match decimal {
        Decimal::Point => ('.', ','),
        Decimal::Comma => (',', '.'),
    };
    let text = text.strip_suffix('%').map_or(text, str::trim_end);
    let (sign, digits) = match text.strip_prefix(['-', '\u{2212}']) {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (body, exponent) = match digits.find(['e', 'E']) {
        Some(at) => digits.split_at(at),
        None => (digits, ""),
    };
    let (whole, fraction) = body.split_once(mark).unwrap_or((body, ""));
    if !is_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole = ungrouped(whole, other)?;
    format!("{sign}{whole}.{fraction}{exponent}").parse().ok()
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Removes the separators of thousands. Groups have three digits, or two as in India (12,34,567).
fn ungrouped(whole: &str, other: char) -> Option<String> {
    let separator =
        |c: char| c == other || [' ', '\'', '\u{2019}'].contains(&c) || SPACES.contains(&c);
    let Some(group) = whole.chars().find(|c| !c.is_ascii_digit()) else {
        return Some(whole.to_owned());
    };
    if !separator(group) {
        return None;
    }
    let groups: Vec<&str> = whole.split(group).collect();
    let (first, rest) = groups.split_first()?;
    let (last, middle) = rest.split_last()?;
    let sizes = |size: usize| middle.iter().all(|group| group.len() == size);
    let good = groups.iter().all(|group| is_digits(group))
        && (1..=3).contains(&first.len())
        && !first.starts_with('0')
        && last.len() == 3
        && (sizes(3) || (sizes(2) && first.len() <= 2));
    good.then(|| groups.concat())
}

/// Decimal mark of a column, as far as its fields show it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mark {
    /// Decimal mark that the fields show.
    Shown(Decimal),
    /// Index of a field that has another value for each decimal mark.
    Ambiguous(usize),
}

/// Determines the decimal mark of a column. Fields like `0,5` and `1.500.000` show it. `1,500`
/// alone does not. `1.500` alone is 1.5 as programs write it, unless smaller whole numbers beside
/// it suggest that the point separates thousands.
pub(super) fn mark<'f>(fields: impl Iterator<Item = &'f str>) -> Mark {
    let (mut points, mut commas) = (0_usize, 0_usize);
    let (mut with_comma, mut with_point) = (None, None);
    let (mut small, mut large) = (false, false);
    for (index, field) in fields.enumerate() {
        match Number::read(field) {
            Some(Number::Written { point, comma }) => match (point, comma) {
                (Some(_), None) => points += 1,
                (None, Some(_)) => commas += 1,
                (Some(point), Some(comma)) if point.abs() > comma.abs() => {
                    with_comma = with_comma.or(Some(index));
                }
                (Some(point), Some(comma)) if point.abs() < comma.abs() => {
                    with_point = with_point.or(Some(index));
                }
                (Some(whole), _) => {
                    let written = bare(field).bytes().filter(u8::is_ascii_digit).count();
                    large |= whole.abs() >= 1000.0 && written == bare(field).len();
                    small |= (1.0..1000.0).contains(&whole.abs());
                }
                (None, None) => {}
            },
            Some(Number::Missing) | None => {}
        }
    }
    let either = with_comma.or(with_point);
    let (most, fewest) = if points >= commas {
        (Decimal::Point, commas)
    } else {
        (Decimal::Comma, points)
    };
    match (points, commas) {
        (0, 0) => match (with_comma, with_point) {
            (Some(index), _) => Mark::Ambiguous(index),
            (None, Some(index)) if small && !large => Mark::Ambiguous(index),
            _ => Mark::Shown(Decimal::Point),
        },
        _ if fewest * 100 <= points + commas => Mark::Shown(most),
        _ => either.map_or(Mark::Shown(most), Mark::Ambiguous),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(field: &str) -> (Option<f64>, Option<f64>) {
        (
            Number::value(field, Decimal::Point),
            Number::value(field, Decimal::Comma),
        )
    }

    #[test]
    fn a_number_has_a_value_for_each_decimal_mark() {
        for (field, point, comma) in [
            ("1500", Some(1500.0), Some(1500.0)),
            ("-7e-1", Some(-0.7), Some(-0.7)),
            ("1e3", Some(1000.0), Some(1000.0)),
            ("1500.25", Some(1500.25), None),
            ("1,500.25", Some(1500.25), None),
            ("\"1,234,567\"", Some(1_234_567.0), None),
            ("12,34,567.5", Some(1_234_567.5), None),
            ("1.500,25", None, Some(1500.25)),
            ("0,5", None, Some(0.5)),
            ("0,500", None, Some(0.5)),
            ("1234,567", None, Some(1234.567)),
            ("1,500", Some(1500.0), Some(1.5)),
            ("1.500", Some(1.5), Some(1500.0)),
            ("1 500,25", None, Some(1500.25)),
            ("1\u{a0}500\u{a0}000", Some(1_500_000.0), Some(1_500_000.0)),
            ("1\u{202f}500,25", None, Some(1500.25)),
            ("1'500.25", Some(1500.25), None),
            ("\u{2212}12", Some(-12.0), Some(-12.0)),
            ("85.5 %", Some(85.5), None),
            (".5", Some(0.5), None),
            ("5.", Some(5.0), None),
        ] {
            let comma = if field == "5." { None } else { comma };
            assert_eq!(values(field), (point, comma), "{field}");
        }
    }

    #[test]
    fn what_is_no_number_has_no_value() {
        for field in [
            "much",
            "1,50,0.2",
            "15,00",
            "1.5k",
            "1 GiB",
            "$5",
            "12:30",
            "2024-03-30",
            "1,,500",
            "1 5",
            "--5",
            "0x10",
            "e5",
            ".",
            ",",
            "+",
            "%",
            "1,500 25",
            "30.03.2024",
        ] {
            let comma = if field == "15,00" { Some(15.0) } else { None };
            assert_eq!(values(field), (None, comma), "{field}");
        }
        for field in [
            "",
            "NaN",
            "null",
            "N/A",
            "inf",
            "-Infinity",
            "1e999",
            "\"\"",
        ] {
            assert_eq!(Number::read(field), Some(Number::Missing), "{field}");
        }
        assert_eq!(Number::read(&"1".repeat(MAX_LENGTH + 1)), None);
    }

    #[test]
    fn the_fields_of_a_column_show_its_decimal_mark() {
        use Decimal::{Comma, Point};
        for (column, mark_of_it) in [
            ("1 2 3", Mark::Shown(Point)),
            ("1.5 2 3", Mark::Shown(Point)),
            ("1,500 99.5", Mark::Shown(Point)),
            ("1,500 1,234,567", Mark::Shown(Point)),
            ("1.500 99,5", Mark::Shown(Comma)),
            ("1,500 0,25", Mark::Shown(Comma)),
            ("1.500 1.500.000", Mark::Shown(Comma)),
            ("1,500 2,500", Mark::Ambiguous(0)),
            ("99 98 1,500", Mark::Ambiguous(2)),
            ("99 98 1.500", Mark::Ambiguous(2)),
            ("99 98 1.500 1500", Mark::Shown(Point)),
            ("12.345 23.456", Mark::Shown(Point)),
            ("0 12.345 23.456", Mark::Shown(Point)),
            ("1.5 2,5 1,500", Mark::Ambiguous(2)),
        ] {
            assert_eq!(mark(column.split(' ')), mark_of_it, "{column}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_number_has_the_value_that_rust_gives_it(value: f64) {
            prop_assume!(value.is_finite());
            prop_assert_eq!(Number::value(&value.to_string(), Decimal::Point), Some(value));
            prop_assert_eq!(Number::value(&format!("{value:e}"), Decimal::Point), Some(value));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text: String) {
            let _ = Number::read(&text);
        }
    }
}
