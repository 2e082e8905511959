//! Reads samples from CSV files of any origin: encodings, layouts, times and numbers as other tools
//! write them.
//!
//! One reader serves `score`, `plot`, `nab`, `backtest` and the trial. It never guesses between two
//! meanings of a field: it asks for `--time-format` or `--decimal` instead. It counts every row
//! that it cannot read, so that a command can refuse a file of which too much is missing.

mod calendar;
mod field;
mod file;
mod layout;
mod number;
mod options;
mod records;
mod report;
mod table;
#[cfg(test)]
mod tests;
mod time;
mod time_format;

pub use file::{CsvError, MAX_BYTES};
pub use number::Decimal;
pub use options::CsvOptions;
pub use report::ReadReport;
pub use table::{Row, Table, load, parse};
pub use time::parse as parse_time;
pub use time_format::TimeFormat;
