//! CSV output of `anomalyzer score`.

use std::io::{self, Write};

use super::csv::Row;
use super::scorer::{Judged, Said};
use anomalyzer_domain::{Phase, Range};

/// Header line with the columns.
pub const HEAD: &str = "timestamp,value,score,severity,expected_low,expected_high,phase";

/// Writes a line for each row of the input, in its order.
///
/// # Errors
/// Returns an error if the output cannot be written.
pub fn write<W: Write>(out: &mut W, rows: &[Row<'_>], judged: &Judged) -> io::Result<()> {
    writeln!(out, "{HEAD}")?;
    for (Row { time, number, .. }, said) in rows.iter().zip(judged.rows()) {
        write!(out, "{time},{number},")?;
        let Some(Said {
            score,
            severity,
            expected,
            phase,
        }) = said
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

#[cfg(test)]
mod tests {
    use super::super::csv::rows;
    use super::*;
    use anomalyzer_domain::Direction;
    use anomalyzer_plugin_host::RawFinding;

    #[test]
    fn there_is_a_line_for_each_row() {
        let rows = rows("t,v\n1,5\n\"2\",oops\n3,7.50\n4,7").unwrap();
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
            scores: vec![0.0, f64::NAN, 1.25, 0.5],
            findings: vec![(2, onset)],
        };
        let mut out = Vec::new();
        write(&mut out, &rows, &judged).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        timestamp,value,score,severity,expected_low,expected_high,phase
        1,5,0,0,,,
        "2",oops,,,,,
        3,7.50,1.25,1.5,4,,onset
        4,7,0.5,1.5,4,,ongoing
        "#);
    }
}
