//! Reads a history that an earlier version wrote, without changing it.

use std::path::Path;

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::error::HistoryError;
use super::history::{FILE_NAME, History};
use super::options::HistoryOptions;
use super::read::HistoryReader;
use anomalyzer_common::metrics::Metrics;

/// Opens an existing file for reading. If an earlier version wrote it, opens a copy in a temporary
/// folder that is brought up to date, because a command that reads must change nothing.
///
/// # Errors
/// The file is missing or unreadable, a newer version wrote it, or there is no room for the copy.
pub async fn open_any_version(path: &Path) -> Result<HistoryReader, HistoryError> {
    let older = match HistoryReader::open(path).await {
        Err(error @ HistoryError::Older { .. }) => error,
        opened => return opened,
    };
    let no_copy = |reason: String| HistoryError::Open {
        path: path.to_owned(),
        reason: format!("{older}, and a copy cannot be made: {reason}"),
    };
    let folder = tempfile::tempdir().map_err(|error| no_copy(error.to_string()))?;
    let (from, copy) = (path.to_owned(), folder.path().join(FILE_NAME));
    let (to, runtime) = (copy.clone(), Handle::current());
    // A thread of its own, because a migration is no future that moves between threads.
    let upgrade = spawn_blocking(move || runtime.block_on(upgraded(&from, &to)));
    upgrade
        .await
        .map_err(|error| no_copy(error.to_string()))??;
    Ok(HistoryReader::open(&copy).await?.in_place_of(path, folder))
}

/// Copies the file, and brings the copy up to date.
async fn upgraded(path: &Path, copy: &Path) -> Result<(), HistoryError> {
    let failed = |error: sqlx::Error| HistoryError::from_sqlx(path, &error);
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .connect()
        .await
        .map_err(failed)?;
    sqlx::query("VACUUM INTO ?")
        .bind(copy.to_string_lossy())
        .execute(&mut connection)
        .await
        .map_err(failed)?;
    History::open(copy, HistoryOptions::default(), &Metrics::default())
        .await?
        .close()
        .await;
    Ok(())
}
