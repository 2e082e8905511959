//! Differences between the chain and the tables, in words.

use super::chains::Difference;

/// Returns the difference of a row.
pub(super) fn differs(
    table: &'static str,
    row: impl Into<String>,
    what: impl Into<String>,
) -> Difference {
    let (row, what) = (row.into(), what.into());
    Difference { table, row, what }
}

/// Returns an error that names the first column that is not as it should be.
pub(super) fn edited(columns: &[(&str, bool)]) -> Result<(), String> {
    match columns.iter().find(|(_, right)| !right) {
        Some((column, _)) => Err(format!(
            "its column `{column}` is not what the last event says: it was edited"
        )),
        None => Ok(()),
    }
}
