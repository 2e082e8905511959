//! Rows of a file, and its samples in the order of time.

use std::borrow::Cow;
use std::path::Path;

use super::field::{bare, quoted};
use super::file::{self, CsvError};
use super::layout::{self, Columns, Layout};
use super::number::{Decimal, Mark, Number, mark};
use super::options::CsvOptions;
use super::records::Records;
use super::report::ReadReport;
use super::time::TimeForm;
use anomalyzer_domain::{Sample, UnixMs};

/// Maximum number of rows of a file.
const MAX_ROWS: usize = 10_000_000;

/// A row: its fields as text, and their parsed values.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// Number of the row's first line.
    pub line: usize,
    /// Field of the time as written, including quotes.
    pub time: Cow<'a, str>,
    /// Field of the value as written, including quotes.
    pub number: &'a str,
    /// Time of the sample. `None` if the row cannot be read.
    pub at: Option<UnixMs>,
    /// Value of the sample. NaN if the row cannot be read, or has no finite value.
    pub value: f64,
    shape: Shape,
}

/// Number of the fields of a row, compared with the header and the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Whole,
    Short,
    Long,
}

impl Row<'_> {
    /// Returns the fields of the time and the value. They are empty in a row of another shape,
    /// because they may be parts of other fields.
    fn fields(&self) -> (&str, &str) {
        match self.shape {
            Shape::Whole => (&self.time, self.number),
            Shape::Short | Shape::Long => ("", ""),
        }
    }
}

/// Rows of a file in its order, and its samples in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table<'a> {
    /// All rows in the order of the file.
    pub rows: Vec<Row<'a>>,
    /// Finite samples in ascending order of time, one for each time.
    pub samples: Vec<Sample>,
    /// Index of each sample's row.
    pub row_indices: Vec<usize>,
    /// Counts of the rows.
    pub report: ReadReport,
}

/// Reads a file, and calls `with` on its table.
///
/// # Errors
/// Returns an error if the file cannot be read, if its meaning is ambiguous, or if it has no
/// readable row.
pub fn load<T>(
    path: &Path,
    options: &CsvOptions,
    with: impl FnOnce(Table<'_>) -> T,
) -> Result<T, CsvError> {
    let text = file::read(path)?;
    let table = parse(&text, options).map_err(|reason| CsvError::new(path, reason))?;
    Ok(with(table))
}

/// Reads the rows of a text.
///
/// # Errors
/// Returns an error if the meaning of the fields is ambiguous, or if no row can be read.
pub fn parse<'a>(text: &'a str, options: &CsvOptions) -> Result<Table<'a>, String> {
    let layout = layout::of(text, options)?;
    let mut rows = split(text, &layout)?;
    let written = || rows.iter().map(Row::fields);
    let times = TimeForm::of(
        written().map(|(time, _)| time),
        options.time_format.as_ref(),
    );
    let times = times.map_err(|ambiguity| two_times(&rows[ambiguity.index], ambiguity.forms))?;
    let decimal = match options.decimal {
        Some(decimal) => decimal,
        None => match mark(written().map(|(_, number)| number)) {
            Mark::Shown(decimal) => decimal,
            Mark::Ambiguous(index) => return Err(two_values(&rows[index])),
        },
    };
    let mut report = ReadReport {
        rows: rows.len(),
        column: layout.value_name,
        other_columns: layout.other_values,
        ..ReadReport::default()
    };
    for row in &mut rows {
        let at = times.at(&row.time);
        let value = Number::value(row.number, decimal);
        let problem = match (row.shape, at, value) {
            (Shape::Whole, Some(at), Some(value)) => {
                (row.at, row.value) = (Some(at), value);
                continue;
            }
            (Shape::Short, ..) => "it has too few fields".to_owned(),
            (Shape::Long, ..) => "it has more fields than the header".to_owned(),
            (_, None, _) => format!("{} is no time", quoted(&row.time)),
            (_, _, None) => format!("{} is no number", quoted(row.number)),
        };
        let has_digits = row.number.contains(|c: char| c.is_numeric());
        report.unclear += usize::from(at.is_some() && row.shape != Shape::Short && has_digits);
        let line = row.line;
        let first = &mut report.first_unreadable;
        first.get_or_insert_with(|| format!("line {line}: {problem}"));
    }
    let table = Table::new(rows, report);
    match table.samples.is_empty() {
        false => Ok(table),
        true => Err(table.report.nothing()),
    }
}

fn two_times(row: &Row<'_>, [one, other]: [&str; 2]) -> String {
    format!(
        "line {}: the time {} has two meanings: say which with --time-format {one} or \
         --time-format {other}",
        row.line,
        quoted(&row.time)
    )
}

fn two_values(row: &Row<'_>) -> String {
    let values = [Decimal::Point, Decimal::Comma].map(|decimal| {
        let value = Number::value(row.number, decimal);
        value.map_or_else(String::new, |value| value.to_string())
    });
    let [point, comma] = values;
    format!(
        "line {}: the value {} may be {point} or {comma}: say which with --decimal point or \
         --decimal comma",
        row.line,
        quoted(row.number)
    )
}

/// Splits the text into rows with their fields as written.
fn split<'a>(text: &'a str, layout: &Layout<'_>) -> Result<Vec<Row<'a>>, String> {
    let mut rows = Vec::new();
    let (mut columns, mut width) = (layout.columns, layout.header.len());
    let mut first_series: Option<&str> = None;
    let (mut records, mut fields) = (Records::new(text, layout.delimiter), Vec::new());
    while let Some(line) = records.next(&mut fields) {
        if Some(line) == layout.header_line {
            continue;
        }
        if let Some(again) = repeated_header(&fields, layout) {
            (columns, width) = (again, fields.len());
            continue;
        }
        if rows.len() == MAX_ROWS {
            return Err(format!(
                "it has more than {MAX_ROWS} rows, the most that are read: split it"
            ));
        }
        if let Some(series) = layout.series.and_then(|series| fields.get(series))
            && bare(first_series.get_or_insert(series)) != bare(series)
        {
            let remedy = "export each into a file of its own";
            return Err(format!(
                "line {line}: it holds several series (column `table`): {remedy}"
            ));
        }
        rows.push(row(line, &fields, columns, width));
    }
    Ok(rows)
}

/// Returns the columns of a header in the middle, as in joined files.
fn repeated_header(fields: &[&str], layout: &Layout<'_>) -> Option<Columns> {
    let Columns { date, time, value } = layout.columns;
    let find = |column: usize| {
        let name = layout.header.get(column).filter(|name| !name.is_empty())?;
        fields.iter().position(|field| bare(field) == *name)
    };
    Some(Columns {
        time: find(time)?,
        value: find(value)?,
        date: date.and_then(find),
    })
}

/// Returns a row. `width` is the number of names in the header, 0 without one.
fn row<'a>(line: usize, fields: &[&'a str], columns: Columns, width: usize) -> Row<'a> {
    let surplus = fields
        .get(width..)
        .filter(|_| width > 0)
        .unwrap_or_default();
    let (time, number) = (columns.time_of(fields), fields.get(columns.value));
    let shape = match (&time, number) {
        (None, _) | (_, None) => Shape::Short,
        _ if surplus.iter().any(|field| !bare(field).is_empty()) => Shape::Long,
        _ => Shape::Whole,
    };
    Row {
        line,
        time: time.unwrap_or_default(),
        number: number.copied().unwrap_or_default(),
        at: None,
        value: f64::NAN,
        shape,
    }
}

impl<'a> Table<'a> {
    fn new(rows: Vec<Row<'a>>, mut report: ReadReport) -> Self {
        let mut found: Vec<(UnixMs, usize)> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            match row.at {
                None => report.unreadable += 1,
                Some(_) if !row.value.is_finite() => report.without_value += 1,
                Some(at) => {
                    let before = found.last().is_some_and(|(last, _)| at < *last);
                    report.out_of_order += usize::from(before);
                    found.push((at, index));
                }
            }
        }
        report.read = found.len();
        found.sort_by_key(|(at, _)| *at);
        let (mut samples, mut row_indices): (Vec<Sample>, Vec<usize>) = (Vec::new(), Vec::new());
        for (at, index) in found {
            let value = rows[index].value;
            match samples.last() {
                Some(last) if last.at == at => {
                    report.repeated += 1;
                    report.contradicting += usize::from(last.value != value);
                }
                _ => {
                    samples.push(Sample { at, value });
                    row_indices.push(index);
                }
            }
        }
        Self {
            rows,
            samples,
            row_indices,
            report,
        }
    }

    /// Sorts the rows by time if more than 1 % of them are out of order, as in a file that begins
    /// with the newest row. An hour that is repeated at the end of summer time stays in its place.
    pub fn in_time_order(mut self) -> Self {
        if self.report.out_of_order * 100 <= self.report.rows {
            return self;
        }
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by_key(|index| self.rows[*index].at);
        let mut rows: Vec<Option<Row<'a>>> = self.rows.into_iter().map(Some).collect();
        self.rows = order
            .iter()
            .filter_map(|index| rows[*index].take())
            .collect();
        let mut moved = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            moved[*old] = new;
        }
        for index in &mut self.row_indices {
            *index = moved[*index];
        }
        self
    }
}
