//! Counts of the rows of a file, by their fate.

use serde::Serialize;

use super::field::quoted;

/// Number of unreadable rows from which a file may be refused.
const FEW: usize = 3;

/// Counts of the rows of a file. Blank lines, comments and headers are no rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReadReport {
    /// Number of rows.
    pub rows: usize,
    /// Number of rows with a time and a finite value.
    pub read: usize,
    /// Number of rows whose time or value cannot be read.
    pub unreadable: usize,
    /// Number of the unreadable rows that seem to have a number of another form, like `1.5k`.
    pub unclear: usize,
    /// First unreadable row, with its line and the reason.
    pub first_unreadable: Option<String>,
    /// Number of rows without a value, or with a value that is not finite.
    pub without_value: usize,
    /// Number of rows whose time another row has. The first row of a time counts.
    pub repeated: usize,
    /// Number of the repeated rows that have another value.
    pub contradicting: usize,
    /// Number of rows whose time is before that of the row above. Rows are sorted by time.
    pub out_of_order: usize,
    /// Name of the value column, or its number.
    pub column: String,
    /// Number of other columns with numbers, unless the header names the value column.
    pub other_columns: usize,
}

impl ReadReport {
    /// Returns the reason to refuse the file: at least three unreadable rows that are more than 1 %
    /// of the rows or seem to have numbers of another form, or a tenth of rows that contradict
    /// others. Only the large numbers of a column may have another form, so even a small share can
    /// be all of its anomalies.
    pub fn refusal(&self) -> Option<String> {
        let Self { rows, read, .. } = *self;
        if self.unclear >= FEW {
            let why = "of them seem to have a number of another form";
            let unreadable = self.unreadable_rows();
            return Some(format!("{unreadable}; {} {why}", self.unclear));
        }
        if self.unreadable >= FEW && self.unreadable * 100 > rows {
            return Some(self.unreadable_rows());
        }
        if self.contradicting >= FEW && self.contradicting * 10 > read {
            return Some(format!(
                "{} of its {rows} rows repeat the time of another row with another value: the file \
                 holds several series, or its times are rounded; keep one series in a file",
                self.contradicting
            ));
        }
        None
    }

    /// Returns the reason why the file has no sample.
    pub(super) fn nothing(&self) -> String {
        match (self.rows, self.unreadable) {
            (0, _) => "it has a header and no rows".to_owned(),
            (_, 0) => "none of its rows has a value".to_owned(),
            _ => format!(
                "no row can be read: {}; if the form is another one, name it with --time-format or \
                 --decimal",
                self.unreadable_rows()
            ),
        }
    }

    fn unreadable_rows(&self) -> String {
        let Self {
            rows, unreadable, ..
        } = self;
        let first = self.first_unreadable.as_deref().unwrap_or_default();
        let are = if *unreadable == 1 {
            "rows is unreadable:"
        } else {
            "rows are unreadable; the first is"
        };
        format!("{unreadable} of {rows} {are} {first}")
    }

    /// Returns a sentence for each kind of rows that does not count as written.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.unreadable > 0 {
            notes.push(self.unreadable_rows());
        }
        if self.other_columns > 0 {
            notes.push(format!(
                "the values are those of column {}; {} other columns have numbers as well",
                quoted(&self.column),
                self.other_columns
            ));
        }
        let kinds = [
            (self.without_value, "without a finite value"),
            (
                self.repeated,
                "with the time of another row; the first of them counts",
            ),
            (
                self.contradicting,
                "with the time of another row and another value",
            ),
            (
                self.out_of_order,
                "before the row above; the rows are sorted by time",
            ),
        ];
        for (many, what) in kinds.into_iter().filter(|(many, _)| *many > 0) {
            let rows = if many == 1 { "row" } else { "rows" };
            notes.push(format!("{many} {rows} {what}"));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_refused_if_more_than_a_few_rows_are_missing() {
        let report = |rows, unreadable, unclear, contradicting| ReadReport {
            rows,
            read: rows - unreadable,
            unreadable,
            unclear,
            contradicting,
            ..ReadReport::default()
        };
        for (report, refused) in [
            (report(5, 2, 2, 0), false),
            (report(100, 3, 0, 0), true),
            (report(300, 3, 0, 0), false),
            (report(299, 3, 0, 0), true),
            (report(10_000, 3, 2, 0), false),
            (report(10_000, 3, 3, 0), true),
            (report(400, 0, 0, 12), false),
            (report(400, 0, 0, 41), true),
        ] {
            assert_eq!(report.refusal().is_some(), refused, "{report:?}");
        }
    }
}
