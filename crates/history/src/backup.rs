//! Backup and restore of the history.

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection};

use super::{HistoryError, HistoryReader, Walked};

impl HistoryReader {
    /// Copies one snapshot into a new file, also during concurrent writes, and verifies the chains
    /// of the copy.
    ///
    /// # Errors
    /// Returns an error if the file exists already or can't be written.
    pub async fn back_up(&self, to: &Path) -> Result<[Walked; 4], HistoryError> {
        if to.exists() {
            return Err(refused(
                to,
                "there is such a file already: give another name",
            ));
        }
        sqlx::query("VACUUM INTO ?")
            .bind(to.display().to_string())
            .execute(&self.pool)
            .await
            .map_err(|error| HistoryError::from_sqlx(to, &error))?;
        make_private(to)?;
        let copy = Self::open(to).await?;
        let walked = copy.audit(&[]).await;
        copy.close().await;
        walked
    }
}

/// Replaces an unused history with a copy. Moves the old file aside and returns its new name. The
/// copy is only accepted if its chains are valid.
///
/// # Errors
/// Returns an error if the copy is not a history or is broken, if the history is in use, or if a
/// file can't be written.
pub async fn restore(copy: &Path, to: &Path) -> Result<Option<PathBuf>, HistoryError> {
    let reader = HistoryReader::open(copy).await?;
    let walked = reader.audit(&[]).await;
    reader.close().await;
    if let Some(problem) = walked?.iter().find_map(Walked::problem) {
        return Err(refused(copy, &problem));
    }
    let mut aside = None;
    if to.exists() {
        unused(to).await?;
        let name = to.with_extension(format!(
            "before-restore-{}",
            anomalyzer_common::clock::now_ms()
        ));
        fs::rename(to, &name).map_err(|error| refused(to, &error.to_string()))?;
        for left in ["-wal", "-shm"] {
            // Closing the connection moved their content into the file.
            let _ = fs::remove_file(format!("{}{left}", to.display()));
        }
        aside = Some(name);
    }
    // The heads are those of the replaced history.
    let _ = fs::remove_file(to.with_file_name(super::HEADS_FILE_NAME));
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| refused(folder, &error.to_string()))?;
    }
    fs::copy(copy, to).map_err(|error| refused(to, &error.to_string()))?;
    make_private(to)?;
    Ok(aside)
}

/// Gives the file to its owner alone, because it contains logs and prompts.
fn make_private(path: &Path) -> Result<(), HistoryError> {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|error| refused(path, &error.to_string()))
}

/// Returns an error if another process has the file open.
pub(super) async fn unused(path: &Path) -> Result<(), HistoryError> {
    let failed = |error: sqlx::Error| match HistoryError::from_sqlx(path, &error) {
        HistoryError::Store { reason, .. } if reason.contains("locked") => {
            refused(path, "somebody uses it: stop the service first")
        }
        other => other,
    };
    // SQLite lets only the last connection leave write-ahead mode. Leaving it moves the content of
    // the write-ahead log into the file.
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(std::time::Duration::from_secs(1));
    let connection = connect
        .journal_mode(SqliteJournalMode::Delete)
        .disable_statement_logging()
        .connect()
        .await;
    connection.map_err(failed)?.close().await.map_err(failed)
}

pub(super) fn refused(path: &Path, why: &str) -> HistoryError {
    HistoryError::Open {
        path: path.to_owned(),
        reason: why.to_owned(),
    }
}
