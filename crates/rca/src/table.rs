//! CSV files as rows of text.

use std::path::{Path, PathBuf};

use crate::error::RcaError;

/// Largest accepted file: 256 MB. A recording of a day has a few.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// CSV file in memory.
pub struct Table {
    pub path: PathBuf,
    pub rows: Vec<Row>,
}

/// Row of a CSV file.
pub struct Row {
    /// Line in the file, counted from 1.
    pub line: u64,
    pub fields: csv::StringRecord,
}

impl Table {
    /// Reads a file. All rows must be as long as the first.
    pub fn read(path: &Path) -> Result<Self, RcaError> {
        let size = std::fs::metadata(path)
            .map_err(|error| RcaError::file(path, error))?
            .len();
        if size > MAX_FILE_BYTES {
            return Err(RcaError::file(
                path,
                format!("has {size} bytes, and at most {MAX_FILE_BYTES} are read"),
            ));
        }
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_path(path)
            .map_err(|error| RcaError::file(path, error))?;
        let mut rows = Vec::new();
        for record in reader.records() {
            let fields = record.map_err(|error| RcaError::file(path, error))?;
            let line = fields.position().map_or(0, csv::Position::line);
            rows.push(Row { line, fields });
        }
        Ok(Self {
            path: path.to_owned(),
            rows,
        })
    }

    /// Reads a file if it exists. Returns an empty table if it does not.
    pub fn read_if_present(path: &Path) -> Result<Self, RcaError> {
        if path.exists() {
            return Self::read(path);
        }
        Ok(Self {
            path: path.to_owned(),
            rows: Vec::new(),
        })
    }

    /// Returns the names of the columns and the rows below.
    pub fn with_header(&self) -> (Vec<&str>, &[Row]) {
        match self.rows.split_first() {
            Some((header, rows)) => (header.fields.iter().map(str::trim).collect(), rows),
            None => (Vec::new(), &[]),
        }
    }

    /// Reads a field as a number. An empty field and `NaN` are gaps.
    pub fn number(&self, row: &Row, column: usize) -> Result<Option<f64>, RcaError> {
        let text = row.fields.get(column).unwrap_or_default().trim();
        if text.is_empty() || text.eq_ignore_ascii_case("nan") {
            return Ok(None);
        }
        let number = text.parse::<f64>().map_err(|_| {
            let excerpt = anomalyzer_domain::excerpt(text.as_bytes());
            RcaError::row(&self.path, row.line, format!("`{excerpt}` is no number"))
        })?;
        Ok(number.is_finite().then_some(number))
    }

    /// Reads a field as a time in whole seconds.
    pub fn seconds(&self, row: &Row, column: usize) -> Result<i64, RcaError> {
        match self.number(row, column)? {
            // Seconds of the next thousand years fit into an f64 exactly.
            Some(seconds) if seconds.abs() < 1e11 => Ok(seconds as i64),
            _ => Err(RcaError::row(
                &self.path,
                row.line,
                "the time is missing or out of range",
            )),
        }
    }
}
