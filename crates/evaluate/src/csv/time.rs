//! Reads the times of a column: with a date, or as numbers.

use super::calendar::{self, Moment, Order};
use super::field::bare;
use super::number::Number;
use super::time_format::{Form, TimeFormat, Unit, by_pattern};
use anomalyzer_domain::UnixMs;

/// Smallest numbers that count as milliseconds, microseconds and nanoseconds since 1970. Each is in
/// the year 5138 in the unit before, and in 1973 in its own.
const LEAST_MILLISECONDS: f64 = 1e11;
const LEAST_MICROSECONDS: f64 = 1e14;
const LEAST_NANOSECONDS: f64 = 1e17;
/// Largest absolute value of a valid time: 9999-12-31T23:59:59.999Z.
const FURTHEST: i64 = 253_402_300_799_999;
/// Day numbers of spreadsheets that are recognised: those from 1954 to 2119.
const DAYS: std::ops::RangeInclusive<f64> = 20_000.0..=80_000.0;
/// Day number of 1970-01-01 in spreadsheets.
const EPOCH_DAY: f64 = 25_569.0;
/// Years that are recognised in times without separators, like `20240330`.
const COMPACT_YEARS: std::ops::RangeInclusive<i64> = 1970..=2100;

/// Field of a time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    Moment(Moment),
    Whole(i64),
    Real(f64),
}

fn read(field: &str) -> Option<Reading> {
    let text = bare(field);
    if let Ok(whole) = text.parse() {
        return Some(Reading::Whole(whole));
    }
    // No number contains a colon or a slash.
    if !text.contains([':', '/', '%'])
        && let Some(Number::Written { point, comma }) = Number::read(text)
    {
        return point.or(comma).map(Reading::Real);
    }
    calendar::read(text).map(Reading::Moment)
}

/// Likeness of a field to a time, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likeness {
    /// Field that is no time.
    None,
    /// Small number. Groups of three digits are small numbers as well.
    Small,
    /// Number of the size of a day number or of a time since 1970.
    Number,
    /// Time with a date.
    Dated,
}

/// Returns the likeness of a field to a time.
pub(super) fn likeness(field: &str, format: Option<&TimeFormat>) -> Likeness {
    let number = |size: f64| match size.abs() >= *DAYS.start() {
        true => Likeness::Number,
        false => Likeness::Small,
    };
    match format.map(|format| &format.0) {
        Some(Form::Pattern(pattern)) => match by_pattern(pattern, bare(field)) {
            Some(_) => Likeness::Dated,
            None => Likeness::None,
        },
        _ => match read(field) {
            Some(Reading::Moment(_)) => Likeness::Dated,
            Some(Reading::Whole(whole)) => number(whole as f64),
            Some(Reading::Real(real)) => number(real),
            None => Likeness::None,
        },
    }
}

/// Parses a time with one meaning: with a date, or as a number since 1970. Returns `None` for any
/// other text.
pub fn parse(text: &str) -> Option<UnixMs> {
    match read(text)? {
        Reading::Moment(Moment::At(at)) => Some(at),
        Reading::Moment(Moment::Dated(orders)) => {
            let mut meanings = orders.into_iter().flatten();
            let first = meanings.next()?;
            meanings.all(|other| other == first).then_some(first)
        }
        number => since_1970(number),
    }
}

fn since_1970(number: Reading) -> Option<UnixMs> {
    let size = match number {
        Reading::Whole(whole) => whole as f64,
        Reading::Real(real) => real,
        Reading::Moment(_) => return None,
    };
    let unit = match size.abs() {
        size if size < LEAST_MILLISECONDS => Unit::Seconds,
        size if size < LEAST_MICROSECONDS => Unit::Milliseconds,
        size if size < LEAST_NANOSECONDS => Unit::Microseconds,
        _ => Unit::Nanoseconds,
    };
    in_unit(number, unit)
}

fn in_unit(number: Reading, unit: Unit) -> Option<UnixMs> {
    let at = match (number, unit) {
        (Reading::Moment(_), _) => return None,
        (Reading::Whole(whole), Unit::Seconds) => whole.checked_mul(1000)?,
        (Reading::Whole(whole), Unit::Milliseconds) => whole,
        (Reading::Whole(whole), Unit::Microseconds) => whole.div_euclid(1000),
        (Reading::Whole(whole), Unit::Nanoseconds) => whole.div_euclid(1_000_000),
        (Reading::Whole(whole), Unit::Days) => return in_unit(Reading::Real(whole as f64), unit),
        (Reading::Real(real), unit) => {
            let at = match unit {
                Unit::Seconds => real * 1000.0,
                Unit::Milliseconds => real,
                Unit::Microseconds => real / 1000.0,
                Unit::Nanoseconds => real / 1_000_000.0,
                Unit::Days => (real - EPOCH_DAY) * 86_400_000.0,
            };
            (at.abs() <= FURTHEST as f64).then_some(at.round() as i64)?
        }
    };
    (at.unsigned_abs() <= FURTHEST.unsigned_abs()).then_some(at)
}

/// Reads `20240330`, `202403300005` or `20240330000500`.
fn compact(number: Reading) -> Option<UnixMs> {
    let Reading::Whole(whole) = number else {
        return None;
    };
    let pattern = match whole {
        10_000_000..=99_999_999 => "%Y%m%d",
        100_000_000_000..=999_999_999_999 => "%Y%m%d%H%M",
        10_000_000_000_000..=99_999_999_999_999 => "%Y%m%d%H%M%S",
        _ => return None,
    };
    let text = whole.to_string();
    let year = text[..4].parse().ok()?;
    if !COMPACT_YEARS.contains(&year) {
        return None;
    }
    by_pattern(pattern, &text)
}

/// Form of the numbers of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Numbers {
    Since1970,
    Days,
    Compact,
}

/// Form of the times of a column.
#[derive(Debug)]
pub(super) struct TimeForm<'f> {
    format: Option<&'f TimeFormat>,
    order: Order,
    numbers: Numbers,
}

/// Field of a column with two meanings, and the names of the forms.
#[derive(Debug, PartialEq)]
pub(super) struct Ambiguity {
    pub index: usize,
    pub forms: [&'static str; 2],
}

/// Evidence that the fields of a column give about their form.
#[derive(Default)]
struct Evidence {
    /// Number of the fields that are a date, by order.
    valid: [usize; 3],
    /// First field with different meanings, by pair of orders.
    differs: [Option<usize>; 3],
    times: usize,
    numbers: usize,
    days: usize,
    fractions: bool,
    compact: usize,
    first_days: Option<usize>,
}

/// Pairs of orders by their index in [`Order::ALL`], with the names of the orders.
const PAIRS: [(usize, usize, [&str; 2]); 3] = [
    (0, 1, ["mdy", "dmy"]),
    (0, 2, ["mdy", "ymd"]),
    (1, 2, ["dmy", "ymd"]),
];

impl Evidence {
    fn add(&mut self, index: usize, reading: Reading) {
        self.times += 1;
        let number = match reading {
            Reading::Moment(Moment::At(_)) => return,
            Reading::Moment(Moment::Dated(orders)) => {
                for (valid, at) in self.valid.iter_mut().zip(&orders) {
                    *valid += usize::from(at.is_some());
                }
                for (differs, (one, other, _)) in self.differs.iter_mut().zip(PAIRS) {
                    let pair = orders[one].zip(orders[other]);
                    if differs.is_none() && pair.is_some_and(|(one, other)| one != other) {
                        *differs = Some(index);
                    }
                }
                return;
            }
            Reading::Whole(whole) => whole as f64,
            Reading::Real(real) => real,
        };
        self.numbers += 1;
        if DAYS.contains(&number) {
            self.days += 1;
            self.fractions |= number.fract() != 0.0;
            self.first_days = self.first_days.or(Some(index));
        }
        self.compact += usize::from(compact(reading).is_some());
    }

    fn order(&self) -> Result<Order, Ambiguity> {
        let best = self.valid.iter().copied().max().unwrap_or(0);
        let is_best = |order: usize| best > 0 && self.valid[order] == best;
        for (differs, (one, other, forms)) in self.differs.iter().zip(PAIRS) {
            if let Some(index) = *differs
                && is_best(one)
                && is_best(other)
            {
                return Err(Ambiguity { index, forms });
            }
        }
        let order = (0..3).find(|order| is_best(*order)).unwrap_or(0);
        Ok(Order::ALL[order])
    }

    fn numbers(&self) -> Result<Numbers, Ambiguity> {
        match self.first_days {
            // A number among other times is a broken row, and shows nothing.
            _ if self.numbers * 2 <= self.times => Ok(Numbers::Since1970),
            _ if self.numbers > 0 && self.compact == self.numbers => Ok(Numbers::Compact),
            // A count of seconds from 0 on leaves the range soon.
            Some(index) if self.days * 10 >= self.numbers * 9 => match self.fractions {
                true => Ok(Numbers::Days),
                false => Err(Ambiguity {
                    index,
                    forms: ["excel", "s"],
                }),
            },
            _ => Ok(Numbers::Since1970),
        }
    }
}

impl<'f> TimeForm<'f> {
    /// Determines the form of a column by its fields, as far as `format` leaves it open.
    ///
    /// # Errors
    /// Returns a field with two meanings, if no other field shows the right one.
    pub(super) fn of<'t>(
        fields: impl Iterator<Item = &'t str>,
        format: Option<&'f TimeFormat>,
    ) -> Result<Self, Ambiguity> {
        let mut evidence = Evidence::default();
        if !matches!(format, Some(TimeFormat(Form::Pattern(_)))) {
            for (index, field) in fields.enumerate() {
                if let Some(reading) = read(field) {
                    evidence.add(index, reading);
                }
            }
        }
        let form = format.map(|format| &format.0);
        let order = match form {
            Some(Form::Dated(order)) => *order,
            _ => evidence.order()?,
        };
        let numbers = match form {
            Some(Form::Number(_)) => Numbers::Since1970,
            _ => evidence.numbers()?,
        };
        Ok(Self {
            format,
            order,
            numbers,
        })
    }

    /// Returns the time of a field, or `None` if it is no time.
    pub(super) fn at(&self, field: &str) -> Option<UnixMs> {
        let form = self.format.map(|format| &format.0);
        if let Some(Form::Pattern(pattern)) = form {
            return by_pattern(pattern, bare(field));
        }
        let number = match read(field)? {
            Reading::Moment(Moment::At(at)) => return Some(at),
            Reading::Moment(Moment::Dated(orders)) => {
                let index = Order::ALL.iter().position(|order| *order == self.order)?;
                return orders[index];
            }
            number => number,
        };
        match (form, self.numbers) {
            (Some(Form::Number(unit)), _) => in_unit(number, *unit),
            (_, Numbers::Since1970) => since_1970(number),
            (_, Numbers::Compact) => compact(number),
            (_, Numbers::Days) => {
                let value = match number {
                    Reading::Whole(whole) => whole as f64,
                    Reading::Real(real) => real,
                    Reading::Moment(_) => return None,
                };
                let days = DAYS.contains(&value);
                days.then(|| in_unit(number, Unit::Days)).flatten()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2024-03-30T00:05:00Z.
    const AT: UnixMs = 1_711_757_100_000;

    fn column(fields: &[&str], format: Option<&str>) -> Result<Vec<Option<UnixMs>>, Ambiguity> {
        let format = format.map(|format| format.parse::<TimeFormat>().unwrap());
        let form = TimeForm::of(fields.iter().copied(), format.as_ref())?;
        Ok(fields.iter().map(|field| form.at(field)).collect())
    }

    #[test]
    fn a_single_time_is_a_date_or_a_number_since_1970() {
        for text in [
            " 2024-03-30 00:05:00.000000 ",
            "03/30/2024 00:05",
            "1711757100",
            "1711757100.0",
            "1711757100000",
            "1711757100000000",
            "1711757100000000000",
            "1.7117571e9",
            "1,711,757,100",
        ] {
            assert_eq!(parse(text), Some(AT), "{text}");
        }
        assert_eq!(parse("1711757100.25"), Some(AT + 250));
        assert_eq!((parse("0"), parse("-1")), (Some(0), Some(-1000)));
        assert_eq!(parse("03/03/2024"), parse("2024-03-03"));
        for text in [
            "",
            "timestamp",
            "NaN",
            "inf",
            "1e300",
            "999999999999999999999",
            "2014-02-30 00:00:00",
            "03/04/2024",
            "5%",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_other_rows_show_the_form_of_a_column() {
        let read = |fields: &[&str]| column(fields, None).unwrap();
        let at = |text: &str| parse(text).unwrap();
        let [march, april] = ["2024-03-04", "2024-04-03"].map(at);
        assert_eq!(read(&["03/04/2024", "03/13/2024"])[0], Some(march));
        assert_eq!(read(&["03/04/2024", "13/04/2024"])[0], Some(april));
        assert_eq!(read(&["24/03/04", "00/01/31"])[0], Some(march));
        assert_eq!(read(&["45381.003472222", "45382"])[0], Some(AT));
        assert_eq!(read(&["45381,003472222", "45382"])[0], Some(AT));
        assert_eq!(
            read(&["20240330", "20240331"]),
            [Some(AT - 300_000), Some(AT + 86_100_000)]
        );
        assert_eq!(read(&["202403300005"]), [Some(AT)]);
        assert_eq!(read(&["20240330000500"]), [Some(AT)]);
        assert_eq!(
            read(&["0", "60", "30000"]),
            [Some(0), Some(60_000), Some(30_000_000)]
        );
        assert_eq!(
            read(&["2024-03-30 00:05", "45381", "soon"]),
            [Some(AT), Some(45_381_000), None]
        );
    }

    #[test]
    fn a_column_with_two_meanings_is_asked_about() {
        for (fields, index, forms) in [
            (&["03/03/2024", "03/04/2024"][..], 1, ["mdy", "dmy"]),
            (&["3/4/24 0:05"], 0, ["mdy", "dmy"]),
            (&["30/03/24"], 0, ["dmy", "ymd"]),
            (&["soon", "45381", "45382"], 1, ["excel", "s"]),
        ] {
            assert_eq!(
                column(fields, None),
                Err(Ambiguity { index, forms }),
                "{fields:?}"
            );
            for form in forms {
                let read = column(fields, Some(form)).unwrap();
                assert!(read[index].is_some(), "{fields:?} {form}");
            }
        }
    }

    #[test]
    fn a_named_form_counts() {
        for (field, form) in [
            ("1711757100", "s"),
            ("1711757100000", "ms"),
            ("1711757100000000", "us"),
            ("1711757100000000000", "ns"),
            ("45381.003472222", "excel"),
            ("30.03.2024 00:05", "dmy"),
            ("2024-03-30 00:05", "dmy"),
            ("30. 3. 2024 0h05", "%d. %m. %Y %Hh%M"),
        ] {
            assert_eq!(column(&[field], Some(form)), Ok(vec![Some(AT)]), "{field}");
        }
        assert_eq!(column(&["13/04/2024"], Some("mdy")), Ok(vec![None]));
    }

    proptest! {
        #[test]
        fn any_column_is_read_without_a_panic(fields: Vec<String>) {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let _ = column(&fields, None);
        }
    }
}
