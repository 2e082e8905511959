//! Options that settle the meaning of ambiguous fields.

use clap::Args;

use super::number::Decimal;
use super::time_format::TimeFormat;

/// Options that settle the meaning of ambiguous fields.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct CsvOptions {
    /// Form of the times in CSV files, if their fields leave it open: mdy, dmy or ymd (the order in
    /// a date), s, ms, us or ns (since 1970), excel (day numbers), or a pattern like
    /// `%d.%m.%Y %H:%M`
    #[arg(long, value_name = "FORM")]
    pub time_format: Option<TimeFormat>,
    /// Decimal mark of the values in CSV files, if their fields leave it open
    #[arg(long, value_enum)]
    pub decimal: Option<Decimal>,
}
