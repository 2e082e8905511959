//! CSV output of `anomalyzer score`.

use std::borrow::Cow;
use std::io::{self, Write};

use super::scorer::{Judged, SampleVerdict};
use crate::csv::{Row, Table};
use anomalyzer_domain::{Phase, Range};

/// Header line with the columns.
pub const HEAD: &str = "timestamp,value,score,severity,expected_low,expected_high,phase";

/// Writes a line for each row of the input, in its order.
///
/// # Errors
/// Returns an error if the output cannot be written.
pub fn write<W: Write>(out: &mut W, table: &Table<'_>, judged: &Judged) -> io::Result<()> {
    writeln!(out, "{HEAD}")?;
    let mut by_row = vec![None; table.rows.len()];
    for (row, verdict) in table.row_indices.iter().zip(judged.verdicts()) {
        by_row[*row] = Some(verdict);
    }
    for (Row { time, number, .. }, verdict) in table.rows.iter().zip(by_row) {
        write!(out, "{},{},", field(time), field(number))?;
        let Some(SampleVerdict {
            score,
            severity,
            expected,
            phase,
        }) = verdict
        else {
            writeln!(out, ",,,,")?;
            continue;
        };
        write!(out, "{score},{severity},")?;
        let Range { low, high } = expected.unwrap_or(Range {
            low: None,
            high: None,
        });
        for end in [low, high] {
            if let Some(end) = end {
                write!(out, "{end}")?;
            }
            out.write_all(b",")?;
        }
        let phase = match phase {
            Some(Phase::Onset) => "onset",
            Some(Phase::Ongoing) => "ongoing",
            Some(Phase::Clear) => "clear",
            None => "",
        };
        writeln!(out, "{phase}")?;
    }
    out.flush()
}

/// Returns a field as written, with quotes if it would be more than one field in this file.
fn field(text: &str) -> Cow<'_, str> {
    let inside = text
        .trim()
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    // A second quote within the field would end it.
    let is_quoted = inside.is_some_and(|inside| !inside.replace("\"\"", "").contains('"'));
    match is_quoted || !text.contains([',', '"', '\n', '\r']) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("\"{}\"", text.replace('"', "\"\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::{CsvOptions, parse};
    use anomalyzer_domain::Direction;
    use anomalyzer_plugin_host::RawFinding;

    #[test]
    fn there_is_a_line_for_each_row() {
        let text = "t;v\n4;7\n1;5\n\"2\";oops\n3;\"7,50\"\nsoon, or later;5,1\n\"5\"\";8";
        let table = parse(text, &CsvOptions::default()).unwrap();
        let onset = RawFinding {
            sample: 0,
            phase: Phase::Onset,
            direction: Direction::Above,
            score: 1.25,
            severity: 1.5,
            expected: Some(Range {
                low: Some(4.0),
                high: None,
            }),
            reason: "high".to_owned(),
        };
        let judged = Judged {
            scores: vec![0.0, 1.25, 0.5],
            findings: vec![(1, onset)],
        };
        let mut out = Vec::new();
        write(&mut out, &table, &judged).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        timestamp,value,score,severity,expected_low,expected_high,phase
        4,7,0.5,1.5,4,,ongoing
        1,5,0,0,,,
        "2",oops,,,,,
        3,"7,50",1.25,1.5,4,,onset
        "soon, or later","5,1",,,,,
        """5""""",8,,,,,
        "#);
    }
}
