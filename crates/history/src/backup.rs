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
    pub async fn back_up(&self, to: &Path) -> Result<[Walked; 2], HistoryError> {
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
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(to, fs::Permissions::from_mode(0o600))
            .map_err(|error| refused(to, &error.to_string()))?;
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
    if let Some((chain, broken)) = walked?
        .into_iter()
        .find_map(|walked| Some((walked.chain, walked.broken?)))
    {
        let why = format!(
            "its chain of {} is broken at event {}: {}",
            chain.as_str(),
            broken.seq,
            broken.what
        );
        return Err(refused(copy, &why));
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
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| refused(folder, &error.to_string()))?;
    }
    fs::copy(copy, to).map_err(|error| refused(to, &error.to_string()))?;
    Ok(aside)
}

/// Returns an error if another process has the file open.
async fn unused(path: &Path) -> Result<(), HistoryError> {
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

fn refused(path: &Path, why: &str) -> HistoryError {
    HistoryError::Open {
        path: path.to_owned(),
        reason: why.to_owned(),
    }
}
