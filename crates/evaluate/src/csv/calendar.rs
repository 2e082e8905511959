//! Reads times that are written with a date.
//!
//! A clock is found by its colon. The text before it is the date, and the text behind it the zone.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::field::SPACES;
use anomalyzer_domain::UnixMs;

/// Longest text of a time, in bytes.
const MAX_LENGTH: usize = 100;
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
/// Abbreviations of time zones with their offsets in hours: those of RFC 2822, and of central
/// Europe. Most other abbreviations have several meanings.
const ZONES: [(&str, i32); 14] = [
    ("z", 0),
    ("utc", 0),
    ("gmt", 0),
    ("ut", 0),
    ("est", -5),
    ("edt", -4),
    ("cst", -6),
    ("cdt", -5),
    ("mst", -7),
    ("mdt", -6),
    ("pst", -8),
    ("pdt", -7),
    ("cet", 1),
    ("cest", 2),
];

/// Order of the numbers of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// `03/30/2024`
    MonthDayYear,
    /// `30/03/2024`
    DayMonthYear,
    /// `24/03/30`
    YearMonthDay,
}

impl Order {
    pub(super) const ALL: [Self; 3] = [Self::MonthDayYear, Self::DayMonthYear, Self::YearMonthDay];
}

/// Time that is written with a date.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Moment {
    /// Time with one meaning.
    At(UnixMs),
    /// Time whose meaning depends on the order of the numbers, by [`Order::ALL`].
    Dated([Option<UnixMs>; 3]),
}

/// Reads a time. Returns `None` for any text that is no time.
pub(super) fn read(text: &str) -> Option<Moment> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let text = plain(text);
    let text = without_weekday(&text);
    let (date, clock) = match start_of_clock(text) {
        Some(at) => (&text[..at], Clock::read(&text[at..])?),
        None => (text, Clock::default()),
    };
    let date = date.trim_end_matches([' ', ',', '@', ':']);
    // `Oct` ends with the letter as well, so only the letter behind a digit joins date and clock.
    let date = match date.strip_suffix(['T', 't']) {
        Some(before) if before.ends_with(|c: char| c.is_ascii_digit()) => before,
        _ => date,
    };
    moment(date, &clock).or_else(|| compact(text))
}

/// Reads the forms without separators of ISO 8601, like `20240330T000500Z`.
fn compact(text: &str) -> Option<Moment> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let at = text.parse::<Timestamp>().ok().or_else(|| {
        let civil = text.parse::<DateTime>().ok()?;
        TimeZone::UTC.to_timestamp(civil).ok()
    })?;
    Some(Moment::At(at.as_millisecond()))
}

fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let minus = text.replace('\u{2212}', "-");
    Cow::Owned(minus.replace(SPACES, " "))
}

fn without_weekday(text: &str) -> &str {
    let (name, rest) = leading_letters(text);
    if is_name(name, &WEEKDAYS).is_none() {
        return text;
    }
    rest.trim_start_matches(['.', ',', ' '])
}

/// Splits the letters off the beginning of a text.
fn leading_letters(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphabetic());
    text.split_at(end.unwrap_or(text.len()))
}

/// Splits the digits off the beginning of a text.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

/// Returns the index of a name that is written in full or by its first letters, at least three.
fn is_name(text: &str, names: &[&str]) -> Option<usize> {
    if text.len() < 3 {
        return None;
    }
    let text = text.to_ascii_lowercase();
    names.iter().position(|name| name.starts_with(&text))
}

/// Returns the place of the first one or two digits that a colon and exactly two digits follow.
fn start_of_clock(text: &str) -> Option<usize> {
    text.match_indices(':').find_map(|(colon, _)| {
        let before = &text[..colon];
        let start = before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let minutes = digits(&text[colon + 1..]).0.len();
        ((1..=2).contains(&(colon - start)) && minutes == 2).then_some(start)
    })
}

/// Time of the day, with everything that is written behind it.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    /// Offset in seconds, east of Greenwich. `None` stands for UTC.
    offset: Option<i64>,
    /// Year, if it is written behind the clock as by `date`.
    year: Option<i16>,
}

impl Clock {
    fn read(text: &str) -> Option<Self> {
        let mut clock = Self::default();
        let (hour, rest) = digits(text);
        clock.hour = hour.parse().ok()?;
        let (minute, mut rest) = digits(rest.strip_prefix(':')?);
        clock.minute = minute.parse().ok()?;
        if let Some(seconds) = rest.strip_prefix(':') {
            let (second, behind) = digits(seconds);
            // A leap second is the second before it, as in Unix time.
            clock.second = second.parse::<i8>().ok().filter(|_| second.len() == 2)?;
            clock.second -= i8::from(clock.second == 60);
            rest = behind;
        }
        if let Some(fraction) = rest.strip_prefix(['.', ',']) {
            let (fraction, behind) = digits(fraction);
            if !fraction.is_empty() {
                let nanoseconds = format!("{fraction:0<9}");
                clock.nanosecond = nanoseconds.get(..9)?.parse().ok()?;
                rest = behind;
            }
        }
        clock.read_zone(rest)?;
        Some(clock)
    }

    /// Reads the half of the day, the zone and the year. A zone by name counts only without an
    /// offset in numbers: Go writes `+0530 IST`.
    fn read_zone(&mut self, text: &str) -> Option<()> {
        let (mut named, mut numeric, mut unknown) = (None, None, false);
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches([' ', ',']);
            let (letters, behind) = leading_letters(rest);
            if rest.is_empty() || is_monotonic_clock(rest) {
                break;
            } else if is_in_brackets(rest) {
                unknown |= rest.starts_with('[');
                break;
            } else if let Some(east) = rest.strip_prefix('+') {
                rest = offset(east, 1, &mut numeric)?;
            } else if let Some(west) = rest.strip_prefix('-') {
                rest = offset(west, -1, &mut numeric)?;
            } else if let Some(behind) = half(rest, "a") {
                self.hour = self.hour_of_half()?;
                rest = behind;
            } else if let Some(behind) = half(rest, "p") {
                self.hour = self.hour_of_half()? + 12;
                rest = behind;
            } else if !letters.is_empty() {
                let letters = letters.to_ascii_lowercase();
                let zone = ZONES.iter().find(|(name, _)| *name == letters);
                unknown |= zone.is_none();
                named = named.or(zone.map(|(_, hours)| i64::from(*hours) * 3600));
                rest = behind;
            } else {
                let (year, behind) = digits(rest);
                self.year = Some(year.parse().ok().filter(|_| year.len() == 4)?);
                rest = behind;
            }
        }
        if unknown && numeric.is_none() {
            return None;
        }
        self.offset = numeric.or(named);
        Some(())
    }

    fn hour_of_half(&self) -> Option<i8> {
        (1..=12).contains(&self.hour).then_some(self.hour % 12)
    }

    fn on(&self, year: i16, month: i8, day: i8) -> Option<UnixMs> {
        let Self {
            hour,
            minute,
            second,
            nanosecond,
            ..
        } = *self;
        let civil = DateTime::new(year, month, day, hour, minute, second, nanosecond).ok()?;
        let at = TimeZone::UTC.to_timestamp(civil).ok()?.as_millisecond();
        at.checked_sub(self.offset.unwrap_or(0) * 1000)
    }
}

/// Returns true for the reading of the monotonic clock that Go writes behind a time.
fn is_monotonic_clock(text: &str) -> bool {
    let clock = text.strip_prefix("m=");
    clock.is_some_and(|clock| {
        clock
            .trim_matches(|c: char| "+-.0123456789".contains(c))
            .is_empty()
    })
}

/// Returns true for the name of a zone in brackets. A delimiter belongs to no name.
fn is_in_brackets(text: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || " /_-+.:".contains(c);
    let inside = text.strip_prefix(['[', '(']);
    let inside = inside.and_then(|inside| inside.strip_suffix([']', ')']));
    inside.is_some_and(|inside| inside.chars().all(in_name))
}

/// Returns the text behind `AM`, `a.m.`, `PM` or `p.m.`.
fn half<'t>(text: &'t str, first: &str) -> Option<&'t str> {
    let forms = [format!("{first}.m."), format!("{first}m")];
    forms.iter().find_map(|form| {
        let start = text.get(..form.len())?;
        let behind = &text[form.len()..];
        let ends = !behind.starts_with(|c: char| c.is_ascii_alphabetic());
        (start.eq_ignore_ascii_case(form) && ends).then_some(behind)
    })
}

/// Reads `2`, `02`, `0200` or `02:00` as an offset in seconds. Returns the text behind it.
fn offset<'t>(text: &'t str, sign: i64, known: &mut Option<i64>) -> Option<&'t str> {
    let (number, mut rest) = digits(text);
    let (hours, minutes) = match number.len() {
        1 | 2 => {
            let minutes = rest.strip_prefix(':').map(digits);
            let minutes = minutes.filter(|(minutes, _)| minutes.len() == 2);
            minutes.map_or((number, "0"), |(minutes, behind)| {
                rest = behind;
                (number, minutes)
            })
        }
        4 => number.split_at(2),
        _ => return None,
    };
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = sign * (hours * 3600 + minutes * 60);
    let good = hours < 24 && minutes < 60 && known.is_none_or(|known| known == seconds);
    *known = Some(seconds);
    good.then_some(rest)
}

/// Part of a date.
#[derive(Clone, Copy)]
enum Part {
    Number { value: i16, digits: usize },
    Month(i8),
}

impl Part {
    fn read(text: &str) -> Option<Self> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            let month = i8::try_from(is_name(text, &MONTHS)?).ok()?;
            return Some(Self::Month(month + 1));
        }
        let value = text.parse().ok().filter(|_| text.len() <= 4)?;
        Some(Self::Number {
            value,
            digits: text.len(),
        })
    }
}

fn moment(date: &str, clock: &Clock) -> Option<Moment> {
    let separators = ['-', '/', '.', ' ', ','];
    let mut parts: Vec<Part> = date
        .split(separators)
        .filter(|part| !part.is_empty())
        .take(4)
        .map(Part::read)
        .collect::<Option<_>>()?;
    parts.extend(clock.year.map(|value| Part::Number { value, digits: 4 }));
    let [first, second, third] = <[Part; 3]>::try_from(parts).ok()?;
    let month_of = |part: Part| match part {
        Part::Month(month) => Some(month),
        Part::Number { value, digits } if digits <= 2 => i8::try_from(value).ok(),
        Part::Number { .. } => None,
    };
    let day_of = |part: Part| match part {
        Part::Number { value, digits } if digits <= 2 => i8::try_from(value).ok(),
        _ => None,
    };
    let on = |year, month, day| clock.on(year_of(year)?, month_of(month)?, day_of(day)?);
    let is_year = |part: Part| matches!(part, Part::Number { digits: 4, .. });
    let at = match (first, second, third) {
        (Part::Month(_), _, _) => on(third, first, second),
        (year, Part::Month(_), day) if is_year(year) => on(year, second, day),
        (day, Part::Month(_), year) => on(year, second, day),
        (year, month, day) if is_year(year) => on(year, month, day),
        _ => {
            let orders = [
                on(third, first, second),
                on(third, second, first),
                on(first, second, third),
            ];
            return dated(date, orders);
        }
    };
    at.map(Moment::At)
}

/// Keeps the orders that make sense. With points, the day is first wherever that is a date.
fn dated(date: &str, [month_first, day_first, year_first]: [Option<UnixMs>; 3]) -> Option<Moment> {
    let points = date.contains('.') && !date.contains(['-', '/']);
    let orders = match (points, day_first) {
        (true, Some(_)) => [None, day_first, None],
        (true, None) => [month_first, None, None],
        (false, _) => [month_first, day_first, year_first],
    };
    orders
        .iter()
        .any(Option::is_some)
        .then_some(Moment::Dated(orders))
}

/// Returns a year. Two digits are a year from 1969 to 2068, as in POSIX.
fn year_of(part: Part) -> Option<i16> {
    match part {
        Part::Number { value, digits: 4 } => Some(value),
        Part::Number { value, digits: 2 } => Some(value + if value < 69 { 2000 } else { 1900 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2024-03-30T00:05:00Z.
    const AT: UnixMs = 1_711_757_100_000;

    #[test]
    fn a_time_with_one_meaning_is_read_in_the_forms_of_many_programs() {
        for text in [
            "2024-03-30 00:05:00",
            "2024-03-30T00:05:00Z",
            "2024-03-30t00:05:00z",
            "2024-03-30 0:05",
            "2024/03/30 00:05:00",
            "2024/3/30 0:05",
            "2024.03.30 00:05:00",
            "2024-03-30 00:05:00 UTC",
            "2024-03-30 00:05:00 GMT",
            "2024-03-30 00:05:00.000000 UTC",
            "2024-03-30 00:05:00 +0000",
            "2024-03-30 00:05:00+00",
            "2024-03-30T02:05:00+02:00",
            "2024-03-29 19:05:00 -0500",
            "2024-03-29 19:05:00 EST",
            "2024-03-30 01:05:00,000 CET",
            "2024-03-30 05:35:00 +0530 IST",
            "2024-03-30 00:05:00.000000123 +0000 UTC m=+0.000012345",
            "2024-03-30 00:05:00 UTC+0",
            "2024-03-30T01:05:00+01:00[Europe/Berlin]",
            "30 Mar 2024 00:05",
            "30-Mar-2024 00:05:00",
            "30-MAR-24 00:05",
            "30. March 2024, 00:05",
            "Mar 30, 2024 12:05 AM",
            "March 30, 2024 12:05:00 a.m.",
            "Mar 30, 2024 @ 00:05:00.000",
            "2024-Mar-30 00:05:00",
            "30/Mar/2024:00:05:00 +0000",
            "Sat, 30 Mar 2024 00:05:00 GMT",
            "Sat Mar 30 00:05:00 2024",
            "Sat Mar 30 00:05:00 UTC 2024",
            "Sat Mar 30 2024 01:05:00 GMT+0100 (Central European Standard Time)",
            "20240330T000500Z",
        ] {
            assert_eq!(read(text), Some(Moment::At(AT)), "{text}");
        }
        assert_eq!(read("2024-03-30"), Some(Moment::At(AT - 300_000)));
        assert_eq!(
            read("2024-03-30 12:05 PM"),
            Some(Moment::At(AT + 43_200_000))
        );
        assert_eq!(read("2024-03-30 00:05:00.25"), Some(Moment::At(AT + 250)));
        assert_eq!(read("2016-12-31 23:59:60"), read("2016-12-31 23:59:59"));
    }

    #[test]
    fn the_order_of_numbers_may_be_open() {
        let other = |text: &str| match read(text) {
            Some(Moment::At(at)) => Some(at),
            _ => None,
        };
        let april = other("2024-04-03 00:05");
        let march = other("2024-03-04 00:05");
        for (text, orders) in [
            ("03/30/2024 00:05", [Some(AT), None, None]),
            ("3/30/2024, 12:05:00 AM", [Some(AT), None, None]),
            ("3/30/2024, 12:05:00\u{202f}AM", [Some(AT), None, None]),
            ("30/03/2024 00:05", [None, Some(AT), None]),
            ("30-03-2024 00:05", [None, Some(AT), None]),
            ("30.03.2024 00:05", [None, Some(AT), None]),
            ("30.03.24 00:05", [None, Some(AT), None]),
            ("03/04/2024 00:05", [march, april, None]),
            ("03.04.2024 00:05", [None, april, None]),
            ("03/30/24 00:05", [Some(AT), None, None]),
            (
                "24/03/30 00:05",
                [None, other("2030-03-24 00:05"), Some(AT)],
            ),
        ] {
            assert_eq!(read(text), Some(Moment::Dated(orders)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "soon",
            "timestamp",
            "2014-02-30 00:00:00",
            "2014-04-01 24:01",
            "13/13/2024",
            "Mar 30 00:05:00",
            "2024-03-30 25:00",
            "2024-03-30 13:05 PM",
            "2024-03-30 00:05 XYZ",
            "2024-03-30 00:05 +9999",
            "10.0.0.1",
            "00:05:00",
            "30 Mai 2024",
            "2024-03",
            "2024-03-30 00:05:00 and more",
            "2024-03-30 00:05:00 +0100 +0200",
            "2024-03-30 00:05:00 +0000 UTC m=+0.5;0",
            "2024-03-30 00:05:00 +0000 (UTC);(5)",
            "2024-03-30 00:05:00[Europe/Berlin]",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[ -~äT0-9:/+]{0,40}|\\PC*") {
            let _ = read(&text);
        }
    }
}
