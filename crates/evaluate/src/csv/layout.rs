//! Determines the delimiter, the header and the columns of a file.

use std::borrow::Cow;

use super::field::bare;
use super::number::Number;
use super::options::CsvOptions;
use super::records::Records;
use super::time::{Likeness, likeness};
use super::time_format::TimeFormat;

/// Delimiters in the order of preference.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];
/// Number of records that show the layout.
const SAMPLE: usize = 200;
/// Number of columns among which one without a known name is found.
const MAX_SEARCHED: usize = 100;
/// Known names of the time column, without `_` and `@` at the beginning.
const TIMES: [&str; 5] = ["timestamp", "time", "datetime", "date", "ts"];
/// Known names of the value column.
const VALUES: [&str; 3] = ["value", "val", "v"];

/// Columns of the time and the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// Column of the date, if the time column contains only a clock.
    pub date: Option<usize>,
    pub time: usize,
    pub value: usize,
}

impl Columns {
    /// Returns the time of a record as written, or `None` if the record is too short.
    pub(super) fn time_of<'a>(&self, fields: &[&'a str]) -> Option<Cow<'a, str>> {
        let time = *fields.get(self.time)?;
        match self.date {
            None => Some(Cow::Borrowed(time)),
            Some(date) => {
                let (date, time) = (bare(fields.get(date)?), bare(time));
                Some(Cow::Owned(format!("{date} {time}")))
            }
        }
    }
}

/// Layout of a file.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub delimiter: char,
    /// Line of the header.
    pub header_line: Option<usize>,
    /// Names of the header as written. Empty without a header.
    pub header: Vec<&'a str>,
    pub columns: Columns,
    /// Name of the value column, or its number.
    pub value_name: String,
    /// Number of other columns with numbers, unless the name of the value column is known.
    pub other_values: usize,
    /// Column that numbers the series, in the annotated CSV of InfluxDB.
    pub series: Option<usize>,
}

/// Determines the layout: that by which most of the first records can be read.
///
/// # Errors
/// Returns an error if there is no record, or none with two fields.
pub(super) fn of<'a>(text: &'a str, options: &CsvOptions) -> Result<Layout<'a>, String> {
    let format = options.time_format.as_ref();
    let mut best: Option<([usize; 3], Layout<'a>)> = None;
    let mut is_empty = true;
    for delimiter in DELIMITERS {
        let sample = Sample::new(text, delimiter);
        is_empty &= sample.records.is_empty();
        let Some(layout) = sample.layout(format) else {
            continue;
        };
        let count = sample.count(&layout, format);
        if best.as_ref().is_none_or(|(most, _)| count > *most) {
            best = Some((count, layout));
        }
    }
    let wants = "a line wants a time and a value, as `2014-04-01 00:05:00,20.0`";
    best.map(|(_, layout)| layout)
        .ok_or_else(|| match is_empty {
            true => format!("it is empty; {wants}"),
            false => format!("it has one column; {wants}"),
        })
}

/// Returns the names of a header record, in lower case and without units.
fn names(fields: &[&str]) -> Vec<String> {
    let name = |field: &&str| {
        let name = bare(field).to_lowercase();
        let name = name.split(['(', '[']).next().unwrap_or_default();
        name.trim().trim_start_matches(['_', '@']).to_owned()
    };
    fields.iter().map(name).collect()
}

/// Returns the columns with known names.
fn known(names: &[String]) -> (Option<usize>, Option<usize>) {
    let find = |known: &[&str]| {
        known
            .iter()
            .find_map(|known| names.iter().position(|name| name == known))
    };
    (find(&TIMES), find(&VALUES))
}

/// Returns the column that numbers the series of the annotated CSV of InfluxDB.
fn series(names: &[String]) -> Option<usize> {
    let position = |wanted: &str| names.iter().position(|name| name == wanted);
    position("result").and(position("table"))
}

/// First records of a text, split by one delimiter.
struct Sample<'a> {
    delimiter: char,
    records: Vec<(usize, Vec<&'a str>)>,
    comment: Option<&'a str>,
}

impl<'a> Sample<'a> {
    fn new(text: &'a str, delimiter: char) -> Self {
        let (mut reader, mut fields) = (Records::new(text, delimiter), Vec::new());
        let (mut records, mut comment) = (Vec::new(), None);
        while records.len() < SAMPLE
            && let Some(line) = reader.next(&mut fields)
        {
            if records.is_empty() {
                comment = reader.comment();
            }
            records.push((line, fields.clone()));
        }
        Self {
            delimiter,
            records,
            comment,
        }
    }

    fn layout(&self, format: Option<&TimeFormat>) -> Option<Layout<'a>> {
        // Titles above the table have one field.
        let (line, first) = self.records.iter().find(|(_, fields)| fields.len() > 1)?;
        let names_of_first = names(first);
        let is_field = |field: &&str| {
            likeness(field, format) > Likeness::None
                || (!bare(field).is_empty() && is_number(field))
        };
        let has_date = first
            .iter()
            .any(|field| likeness(field, format) == Likeness::Dated);
        let is_header = match known(&names_of_first) {
            (None, None) => !first.iter().any(is_field),
            _ => !has_date,
        };
        if is_header {
            let header: Vec<&str> = first.iter().map(|name| bare(name)).collect();
            let (columns, other_values) = self.columns(&names_of_first, Some(*line), format);
            let name = header.get(columns.value).copied().unwrap_or_default();
            return Some(Layout {
                delimiter: self.delimiter,
                header_line: Some(*line),
                value_name: name.to_owned(),
                header,
                columns,
                other_values,
                series: series(&names_of_first),
            });
        }
        // A comment may hold the names, as those of NumPy and gnuplot do.
        let comment: Vec<&str> = self
            .comment
            .map(|comment| comment.split(self.delimiter).collect())
            .unwrap_or_default();
        let mut names = names(&comment);
        if names.len() != first.len() || known(&names) == (None, None) {
            names.clear();
        }
        let (columns, other_values) = self.columns(&names, None, format);
        Some(Layout {
            delimiter: self.delimiter,
            header_line: None,
            header: Vec::new(),
            value_name: (columns.value + 1).to_string(),
            columns,
            other_values,
            series: None,
        })
    }

    /// Finds the columns by their names, and a column without a known name by its fields. Returns
    /// the number of other columns that the values could be in as well.
    fn columns(
        &self,
        names: &[String],
        header: Option<usize>,
        format: Option<&TimeFormat>,
    ) -> (Columns, usize) {
        let rows = || {
            let rows = self
                .records
                .iter()
                .filter(|(line, _)| Some(*line) != header);
            rows.map(|(_, fields)| fields)
        };
        let most = |good: &dyn Fn(&[&str]) -> bool| {
            let fit = rows().filter(|fields| good(fields)).count();
            fit > 0 && fit * 2 >= rows().count()
        };
        // A column without a name numbers the rows, as in tables of pandas.
        let is_index = |column: usize| names.get(column).is_some_and(String::is_empty);
        let fitting = |taken: [Option<usize>; 2], good: &dyn Fn(&str) -> bool| {
            let widest = rows().map(Vec::len).max().unwrap_or(0);
            let free = |column: &usize| !taken.contains(&Some(*column)) && !is_index(*column);
            let fits = |column: &usize| {
                most(&|fields| fields.get(*column).is_some_and(|field| good(field)))
            };
            let columns = (0..widest.min(MAX_SEARCHED)).filter(free).filter(fits);
            columns.collect::<Vec<usize>>()
        };
        let (time, value) = known(names);
        let time = time.unwrap_or_else(|| {
            let like = |least: Likeness| {
                let taken = [value, series(names)];
                fitting(taken, &|field| likeness(field, format) >= least)
            };
            let first = usize::from(value == Some(0));
            let dated = like(Likeness::Dated).first().copied();
            let small = like(Likeness::Small).first().copied();
            // Only the first column may hold small numbers, because later ones may be values.
            let small = small.filter(|column| *column == first);
            let number = like(Likeness::Number).first().copied();
            dated.or(small).or(number).unwrap_or(first)
        });
        let (value, others) = match value {
            Some(value) => (value, 0),
            None => {
                let taken = [Some(time), series(names)];
                let numbers = fitting(taken, &|field| !bare(field).is_empty() && is_number(field));
                let first = numbers.first().copied();
                let others = numbers.len().saturating_sub(1);
                (first.unwrap_or_else(|| usize::from(time == 0)), others)
            }
        };
        let alone = Columns {
            date: None,
            time,
            value,
        };
        let reads = |columns: &Columns| {
            most(&|fields| {
                let time = columns.time_of(fields);
                time.is_some_and(|time| likeness(&time, format) > Likeness::None)
            })
        };
        let date = names.iter().position(|name| name == "date");
        let joined = Columns { date, ..alone };
        if date.is_some_and(|date| date != time) && !reads(&alone) && reads(&joined) {
            return (joined, others);
        }
        (alone, others)
    }

    /// Counts the readable records with a date, all readable records, and those with two fields.
    fn count(&self, layout: &Layout<'_>, format: Option<&TimeFormat>) -> [usize; 3] {
        let columns = &layout.columns;
        let mut counts = [0; 3];
        for (_, fields) in &self.records {
            let time = columns.time_of(fields);
            let time = time.map_or(Likeness::None, |time| likeness(&time, format));
            let number = fields
                .get(columns.value)
                .is_some_and(|field| is_number(field));
            counts[0] += usize::from(number && time == Likeness::Dated);
            counts[1] += usize::from(number && time > Likeness::None);
            counts[2] += usize::from(fields.len() > 1);
        }
        counts
    }
}

fn is_number(field: &str) -> bool {
    Number::read(field).is_some()
}
