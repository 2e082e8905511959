//! Reads samples from CSV files: selects the columns and parses their fields.

use std::path::Path;

use super::{QualityError, timestamp};
use anomalyzer_domain::UnixMs;

/// Known names of the time column.
const TIMES: [&str; 5] = ["timestamp", "time", "datetime", "date", "ts"];
/// Known names of the value column.
const VALUES: [&str; 3] = ["value", "val", "v"];

/// A row: its fields as text, and their parsed values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// Field of the time as written, including quotes.
    pub time: &'a str,
    /// Field of the value as written, including quotes.
    pub number: &'a str,
    /// Time of the sample. `None` if the field cannot be parsed.
    pub at: Option<UnixMs>,
    /// Value of the sample. NaN if the field cannot be parsed.
    pub value: f64,
}

/// Reads the text of a file. Invalid UTF-8 becomes U+FFFD, and spoils only its own row.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub fn read(path: &Path) -> Result<String, QualityError> {
    let bytes = std::fs::read(path).map_err(|error| QualityError::unreadable(path, &error))?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Returns the rows of a file in order, one for each line that is neither blank nor the header. The
/// first line is a header if neither its time nor its value can be parsed. With a header, the
/// columns are found by name. Without one, the first column is the time and the second one the
/// value.
///
/// # Errors
/// Returns an error if the text is empty or has only one column.
pub fn rows(text: &str) -> Result<Vec<Row<'_>>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .peekable();
    let first = *lines
        .peek()
        .ok_or("it is empty; a line wants a time and a value, as `2014-04-01 00:05:00,20.0`")?;
    if field(first, 1).is_none() {
        return Err(
            "its first line has one column; a line wants a time and a value with a comma between them".to_owned()
        );
    }
    let mut columns = (0, 1);
    if let Row {
        at: None, value, ..
    } = row(first, columns)
        && is_no_number(field(first, 1).unwrap_or_default(), value)
    {
        columns = named(first);
        lines.next();
    }
    Ok(lines.map(|line| row(line, columns)).collect())
}

/// Returns true if the field is not a number. A written `NaN` is a number here.
fn is_no_number(field: &str, value: f64) -> bool {
    value.is_nan() && bare(field).parse::<f64>().is_err()
}

fn row(line: &str, (time, number): (usize, usize)) -> Row<'_> {
    let (time, number) = (
        field(line, time).unwrap_or_default(),
        field(line, number).unwrap_or_default(),
    );
    Row {
        time,
        number,
        at: timestamp::parse(bare(time)),
        value: bare(number).parse().unwrap_or(f64::NAN),
    }
}

/// Returns the columns of time and value by their names. A column without a known name is the first
/// remaining one.
fn named(header: &str) -> (usize, usize) {
    let names: Vec<String> = (0..)
        .map_while(|n| field(header, n))
        .map(|name| bare(name).to_lowercase())
        .collect();
    let find = |known: &[&str]| {
        known
            .iter()
            .find_map(|known| names.iter().position(|name| name == known))
    };
    let other = |taken: usize| usize::from(taken == 0);
    match (find(&TIMES), find(&VALUES)) {
        (Some(time), Some(value)) => (time, value),
        (Some(time), None) => (time, other(time)),
        (None, Some(value)) => (other(value), value),
        (None, None) => (0, 1),
    }
}

/// Returns a field without surrounding spaces and quotes.
fn bare(field: &str) -> &str {
    let field = field.trim();
    let inside = field
        .strip_prefix('"')
        .and_then(|field| field.strip_suffix('"'));
    inside.map_or(field, str::trim)
}

/// Returns field number `n` as written. A comma between quotes does not end the field. A line break
/// does, unlike in RFC 4180.
fn field(line: &str, n: usize) -> Option<&str> {
    if !line.contains('"') {
        return line.split(',').nth(n);
    }
    let mut quoted = false;
    let ends = |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    line.split(ends).nth(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(&str, &str, Option<UnixMs>, String)> {
        rows(text)
            .unwrap()
            .iter()
            .map(|row| (row.time, row.number, row.at, row.value.to_string()))
            .collect()
    }

    #[test]
    fn a_row_is_kept_as_it_was_written() {
        let text =
            "timestamp,value\r\n1970-01-01 00:00:01,20.0\r\n\r\noops,1\n2, 7e-1\n3,\n4,NaN\n5\n";
        let said = [
            ("1970-01-01 00:00:01", "20.0", Some(1000), "20".to_owned()),
            ("oops", "1", None, "1".to_owned()),
            ("2", " 7e-1", Some(2000), "0.7".to_owned()),
            ("3", "", Some(3000), "NaN".to_owned()),
            ("4", "NaN", Some(4000), "NaN".to_owned()),
            ("5", "", Some(5000), "NaN".to_owned()),
        ];
        assert_eq!(read(text), said);
    }

    #[test]
    fn without_a_header_the_first_row_counts() {
        for (text, rows) in [
            ("1,5\n2,6\n", 2),
            ("oops,5\n2,6\n", 2),
            ("1,oops\n2,6", 2),
            ("when,what\n2,6", 1),
            ("when,NaN\n2,6", 2),
        ] {
            assert_eq!(read(text).len(), rows, "{text}");
        }
    }

    #[test]
    fn columns_go_by_their_names_else_by_their_place() {
        for header in ["host,Value,\"TIME\"", "host,v,ts", "\u{feff}x,value,date"] {
            assert_eq!(
                read(&format!("{header}\na,5,1")),
                [("1", "5", Some(1000), "5".to_owned())],
                "{header}"
            );
        }
        for header in [
            "when,cpu,host",
            "when,value,x",
            "timestamp,cpu,x",
            "cpu_of_web,load,time_of_day",
        ] {
            assert_eq!(read(&format!("{header}\n1,5,9"))[0].1, "5", "{header}");
        }
        assert_eq!(
            read("value,when\n5,1")[0],
            ("1", "5", Some(1000), "5".to_owned())
        );
        assert_eq!(
            read("cpu,timestamp\n5,1")[0],
            ("1", "5", Some(1000), "5".to_owned())
        );
    }

    #[test]
    fn a_comma_between_quotes_is_part_of_its_field() {
        assert_eq!(
            read("\"a, b\",time,value\n\"x,y\",\"1\",\"5\"")[0],
            ("\"1\"", "\"5\"", Some(1000), "5".to_owned())
        );
    }

    #[test]
    fn what_has_no_two_columns_is_refused() {
        assert!(rows("").unwrap_err().contains("empty"));
        assert!(rows("\n \n").unwrap_err().contains("empty"));
        assert!(rows("20\n21\n").unwrap_err().contains("one column"));
        assert_eq!(rows("timestamp,value\n"), Ok(vec![]));
    }
}
