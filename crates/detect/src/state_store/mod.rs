//! The file with the saved state of the detectors.
//!
//! **Invariant:** the file is a cache. A failure of it is reported and costs saved state, never
//! detection. One engine writes it.

mod config;
mod saved_state;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

pub use config::StateStoreConfig;
pub(super) use saved_state::{Hash, Onset, SavedState, settings_hash};

use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::DetectorConfig;
use anomalyzer_domain::{FindingId, Labels, Target, UnixMs, millis};

/// The name of the file inside the data folder.
pub const FILE_NAME: &str = "memory.sqlite";

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/memory");

/// Time-out of one call.
const DISK_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of rows and bytes in one page.
const MAX_PAGE_ROWS: usize = 256;
const MAX_PAGE_BYTES: usize = 8 << 20;
/// Maximum number of rows that one pruning deletes.
const MAX_PRUNED_ROWS: i64 = 1000;
/// Size of a page of SQLite, in bytes.
const SQLITE_PAGE_BYTES: u64 = 4096;
/// Result code of SQLite for a full disk or database (sqlite.org/rescode.html).
const SQLITE_FULL: &str = "13";

/// A failure to save or read detector state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the detectors' memory {path}: {reason}", path = .path.display())]
pub struct StateStoreError {
    path: PathBuf,
    reason: String,
}

/// The store of detector state. Clones share one connection.
#[derive(Clone, Debug)]
pub struct StateStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    config: StateStoreConfig,
    connect: SqliteConnectOptions,
    /// None at first, after a failure, and after a time-out. A new connection starts with the
    /// committed content of the file.
    connection: Mutex<Option<SqliteConnection>>,
}

/// Some rows of a signal. `next` is the key after which the next page starts.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) rows: Vec<SavedState>,
    /// Number of rows that are not in `rows` because their checksum is wrong.
    pub(super) damaged: usize,
    pub(super) next: Option<RowKey>,
}

/// The key of a row within its signal. The default precedes all rows. The state that series share
/// precedes the state of the series.
#[derive(Clone, Debug, Default)]
pub(super) struct RowKey {
    series: String,
    detector: String,
    settings: Vec<u8>,
}

impl StateStore {
    /// Opens the file, or creates it. Moves a damaged file aside, because the past of the series
    /// can replace it.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub async fn open(path: &Path, config: StateStoreConfig) -> Result<Self, StateStoreError> {
        let failed = |error: &dyn std::fmt::Display| StateStoreError {
            path: path.to_owned(),
            reason: format!("cannot be opened: {error}; give this user a data folder to write to"),
        };
        make_file(path).map_err(|error| failed(&error))?;
        let pages = (config.max_bytes / SQLITE_PAGE_BYTES).max(64);
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A power cut may lose the last writes. That is acceptable for a cache.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(DISK_TIMEOUT / 2)
            .pragma("max_page_count", pages.to_string())
            .disable_statement_logging();
        if let Err(error) = prepare(&connect).await {
            let aside = path.with_extension("damaged");
            tracing::warn!(path = %path.display(), %error, aside = %aside.display(), "moving a damaged state store aside");
            std::fs::rename(path, &aside).map_err(|error| failed(&error))?;
            for left in ["-wal", "-shm"] {
                let mut name = path.as_os_str().to_owned();
                name.push(left);
                // These files usually do not exist.
                let _ = std::fs::remove_file(name);
            }
            make_file(path).map_err(|error| failed(&error))?;
            prepare(&connect).await.map_err(|error| failed(&error))?;
        }
        let inner = Inner {
            path: path.to_owned(),
            config,
            connect,
            connection: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Returns the configuration.
    pub(super) fn config(&self) -> &StateStoreConfig {
        &self.inner.config
    }

    /// Returns a page of the saved states of a signal.
    pub(super) async fn page(&self, signal: &str, after: &RowKey) -> Result<Page, StateStoreError> {
        self.within(async {
            let mut checkout = self.take().await?;
            let mut rows = sqlx::query(
                "SELECT series, detector, settings, version, digest, watermark, seen, onset_at, finding, saved, sha256
                 FROM memories
                 WHERE signal = ?1 AND (series, detector, settings) > (?2, ?3, ?4)
                 ORDER BY series, detector, settings LIMIT ?5",
            )
            .bind(signal)
            .bind(&after.series)
            .bind(&after.detector)
            .bind(&after.settings)
            .bind(MAX_PAGE_ROWS as i64)
            .fetch(&mut checkout.connection);
            let (mut page, mut bytes, mut read) = (Page::default(), 0, 0);
            while let Some(row) = rows.try_next().await? {
                read += 1;
                let key = RowKey {
                    series: row.try_get("series")?,
                    detector: row.try_get("detector")?,
                    settings: row.try_get("settings")?,
                };
                match decode_row(&row, &key)? {
                    Some(state) => {
                        bytes += state.saved.as_ref().map_or(0, Vec::len);
                        page.rows.push(state);
                    }
                    None => page.damaged += 1,
                }
                if read == MAX_PAGE_ROWS || bytes > MAX_PAGE_BYTES {
                    page.next = Some(key);
                    break;
                }
            }
            drop(rows);
            checkout.put_back();
            Ok(page)
        })
        .await
    }

    /// Returns the saved state of one series for one detector.
    pub(super) async fn one(
        &self,
        signal: &str,
        target: &Target,
        labels: &Labels,
        config: &DetectorConfig,
    ) -> Result<Option<SavedState>, StateStoreError> {
        let series = (target.clone(), labels.clone());
        let key = RowKey {
            series: series_key(Some(&series)),
            detector: config.name.clone(),
            settings: settings_hash(config).to_vec(),
        };
        self.within(async {
            let mut checkout = self.take().await?;
            let row = sqlx::query(
                "SELECT series, detector, settings, version, digest, watermark, seen, onset_at, finding, saved, sha256
                 FROM memories WHERE signal = ?1 AND series = ?2 AND detector = ?3 AND settings = ?4",
            )
            .bind(signal)
            .bind(&key.series)
            .bind(&key.detector)
            .bind(&key.settings)
            .fetch_optional(&mut checkout.connection)
            .await?;
            checkout.put_back();
            row.map_or(Ok(None), |row| decode_row(&row, &key))
        })
        .await
    }

    /// Saves these rows in one transaction.
    pub(super) async fn save(
        &self,
        signal: &str,
        rows: &[SavedState],
    ) -> Result<(), StateStoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let now = now_ms();
        self.within(async {
            let mut checkout = self.begin().await?;
            for row in rows {
                let sha256 = row.saved.as_ref().map(|saved| Sha256::digest(saved).to_vec());
                sqlx::query(
                    "INSERT INTO memories (signal, series, detector, settings, version, digest, watermark, seen, onset_at, finding,
                                           saved, sha256, saved_at)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                     ON CONFLICT (signal, series, detector, settings) DO UPDATE SET
                         version = excluded.version, digest = excluded.digest, watermark = excluded.watermark,
                         seen = excluded.seen,
                         onset_at = excluded.onset_at, finding = excluded.finding, saved = excluded.saved,
                         sha256 = excluded.sha256, saved_at = excluded.saved_at",
                )
                .bind(signal)
                .bind(series_key(row.series.as_ref()))
                .bind(&row.detector)
                .bind(&row.settings[..])
                .bind(&row.version)
                .bind(&row.digest)
                .bind(row.watermark)
                .bind(row.seen)
                .bind(row.onset.as_ref().map(|onset| onset.at))
                .bind(row.onset.as_ref().map(|onset| onset.finding.as_str()))
                .bind(row.saved.as_deref())
                .bind(sha256)
                .bind(now)
                .execute(&mut checkout.connection)
                .await?;
            }
            checkout.commit().await
        })
        .await
    }

    /// Deletes the state of ended series.
    pub(super) async fn forget(
        &self,
        signal: &str,
        series: &[(Target, Labels)],
    ) -> Result<(), StateStoreError> {
        if series.is_empty() {
            return Ok(());
        }
        self.within(async {
            let mut checkout = self.begin().await?;
            for gone in series {
                sqlx::query("DELETE FROM memories WHERE signal = ? AND series = ?")
                    .bind(signal)
                    .bind(series_key(Some(gone)))
                    .execute(&mut checkout.connection)
                    .await?;
            }
            checkout.commit().await
        })
        .await
    }

    /// Deletes the state that a detector of a signal saved under other settings than these. Returns
    /// the number of deleted rows.
    pub(super) async fn forget_other_settings(
        &self,
        signal: &str,
        detector: &str,
        settings: &[Hash],
    ) -> Result<u64, StateStoreError> {
        let known = settings
            .iter()
            .map(hex::encode_upper)
            .collect::<Vec<_>>()
            .join(",");
        self.within(async {
            let mut checkout = self.begin().await?;
            let forgotten =
                sqlx::query("DELETE FROM memories WHERE signal = ? AND detector = ? AND instr(?, hex(settings)) = 0")
                    .bind(signal)
                    .bind(detector)
                    .bind(&known)
                    .execute(&mut checkout.connection)
                    .await?;
            checkout.commit().await?;
            Ok(forgotten.rows_affected())
        })
        .await
    }

    /// Deletes old state that was not saved again.
    pub(super) async fn prune(&self) -> Result<(), StateStoreError> {
        let keep_for = millis(self.inner.config.keep_for);
        let before = now_ms().saturating_sub(keep_for);
        self.within(async {
            let mut checkout = self.begin().await?;
            sqlx::query("DELETE FROM memories WHERE id IN (SELECT id FROM memories WHERE saved_at < ? LIMIT ?)")
                .bind(before)
                .bind(MAX_PRUNED_ROWS)
                .execute(&mut checkout.connection)
                .await?;
            checkout.commit().await
        })
        .await
    }

    /// Closes the file. The next call reopens it.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.inner.connection.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, path = %self.inner.path.display(), "the state store did not close cleanly");
        }
    }

    async fn take(&self) -> sqlx::Result<Checkout<'_>> {
        let mut slot = self.inner.connection.lock().await;
        let connection = match slot.take() {
            Some(connection) => connection,
            None => self.inner.connect.connect().await?,
        };
        Ok(Checkout { slot, connection })
    }

    async fn begin(&self) -> sqlx::Result<Checkout<'_>> {
        let mut checkout = self.take().await?;
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut checkout.connection)
            .await?;
        Ok(checkout)
    }

    async fn within<R>(
        &self,
        work: impl Future<Output = sqlx::Result<R>>,
    ) -> Result<R, StateStoreError> {
        let reason = match tokio::time::timeout(DISK_TIMEOUT, work).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => match error
                .as_database_error()
                .and_then(|error| error.code())
                .as_deref()
            {
                Some(SQLITE_FULL) => {
                    "cannot grow: the disk, or `max_bytes` of [memory], is full".to_owned()
                }
                _ => error.to_string(),
            },
            Err(_) => format!("the disk did not answer within {DISK_TIMEOUT:?}"),
        };
        Err(StateStoreError {
            path: self.inner.path.clone(),
            reason,
        })
    }
}

/// The connection, taken out of the store. Dropping it without [`Self::put_back`] closes the
/// connection and rolls back its transaction.
struct Checkout<'a> {
    slot: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
}

impl Checkout<'_> {
    fn put_back(mut self) {
        *self.slot = Some(self.connection);
    }

    async fn commit(mut self) -> sqlx::Result<()> {
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        self.put_back();
        Ok(())
    }
}

async fn prepare(connect: &SqliteConnectOptions) -> sqlx::Result<()> {
    let mut connection = connect.connect().await?;
    MIGRATIONS.run(&mut connection).await?;
    connection.close().await
}

/// Creates the file, readable by its owner only.
fn make_file(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    anomalyzer_regular_file::open_or_create(path).map(drop)
}

fn series_key(series: Option<&(Target, Labels)>) -> String {
    // Every target and every label can be written as JSON.
    series
        .and_then(|series| serde_json::to_string(series).ok())
        .unwrap_or_default()
}

/// Decodes a row. Returns None if it is not as it was written.
fn decode_row(row: &SqliteRow, key: &RowKey) -> sqlx::Result<Option<SavedState>> {
    let series = match key.series.as_str() {
        "" => None,
        text => match serde_json::from_str(text) {
            Ok(series) => Some(series),
            Err(_) => return Ok(None),
        },
    };
    let Ok(settings) = key.settings.as_slice().try_into() else {
        return Ok(None);
    };
    let (saved, sha256): (Option<Vec<u8>>, Option<Vec<u8>>) =
        (row.try_get("saved")?, row.try_get("sha256")?);
    if let Some(saved) = &saved
        && sha256.as_deref() != Some(&Sha256::digest(saved)[..])
    {
        return Ok(None);
    }
    let (onset_at, finding): (Option<UnixMs>, Option<String>) =
        (row.try_get("onset_at")?, row.try_get("finding")?);
    let onset = onset_at.zip(finding).map(|(at, finding)| Onset {
        at,
        finding: FindingId::from(finding),
    });
    Ok(Some(SavedState {
        series,
        detector: key.detector.clone(),
        settings,
        version: row.try_get("version")?,
        digest: row.try_get("digest")?,
        watermark: row.try_get("watermark")?,
        seen: row.try_get("seen")?,
        onset,
        saved,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pod: &str, saved: &[u8]) -> SavedState {
        SavedState {
            series: Some((
                Target::new("shop", "Deployment", "web"),
                Labels::new([("pod", pod)]),
            )),
            detector: "zscore".to_owned(),
            settings: [7; 32],
            version: "0.1.0".to_owned(),
            digest: "00ff".to_owned(),
            watermark: 5,
            seen: Some(4),
            onset: Some(Onset {
                at: 3,
                finding: FindingId::derive(&["x"]),
            }),
            saved: Some(saved.to_vec()),
        }
    }

    async fn memory(config: StateStoreConfig) -> (tempfile::TempDir, StateStore) {
        let folder = tempfile::tempdir().unwrap();
        let memory = StateStore::open(&folder.path().join(FILE_NAME), config)
            .await
            .unwrap();
        (folder, memory)
    }

    async fn all(memory: &StateStore, signal: &str) -> (Vec<SavedState>, usize) {
        let (mut rows, mut damaged, mut next) = (Vec::new(), 0, Some(RowKey::default()));
        while let Some(key) = next {
            let page = memory.page(signal, &key).await.unwrap();
            rows.extend(page.rows);
            damaged += page.damaged;
            next = page.next;
        }
        (rows, damaged)
    }

    async fn sql(memory: &StateStore, statement: &'static str) {
        let mut checkout = memory.begin().await.unwrap();
        sqlx::query(statement)
            .execute(&mut checkout.connection)
            .await
            .unwrap();
        checkout.commit().await.unwrap();
    }

    #[tokio::test]
    async fn what_was_kept_is_read_again_what_is_shared_first() {
        let (_folder, memory) = memory(StateStoreConfig::default()).await;
        let mut rows: Vec<SavedState> = (0..MAX_PAGE_ROWS + 3)
            .map(|pod| row(&format!("web-{pod:04}"), b"calm"))
            .collect();
        rows.push(SavedState {
            series: None,
            onset: None,
            ..row("", b"shared")
        });
        memory.save("latency", &rows).await.unwrap();
        memory
            .save("traffic", &[row("web", b"other")])
            .await
            .unwrap();
        rows.rotate_right(1);
        assert_eq!(all(&memory, "latency").await, (rows.clone(), 0));

        rows[1].saved = Some(b"worried".to_vec());
        memory.save("latency", &rows[1..2]).await.unwrap();
        memory.close().await;
        assert_eq!(all(&memory, "latency").await, (rows.clone(), 0));

        memory
            .forget("latency", &[rows[1].series.clone().unwrap()])
            .await
            .unwrap();
        rows.remove(1);
        assert_eq!(all(&memory, "latency").await, (rows, 0));
    }

    #[tokio::test]
    async fn a_row_that_is_not_what_was_written_is_left_out() {
        let (_folder, memory) = memory(StateStoreConfig::default()).await;
        memory
            .save(
                "latency",
                &[row("a", b"calm"), row("b", b"calm"), row("c", b"calm")],
            )
            .await
            .unwrap();
        sql(
            &memory,
            "UPDATE memories SET saved = x'00' WHERE series LIKE '%\"a\"%'",
        )
        .await;
        sql(
            &memory,
            "UPDATE memories SET series = '{' WHERE series LIKE '%\"b\"%'",
        )
        .await;
        let (rows, damaged) = all(&memory, "latency").await;
        assert_eq!((rows, damaged), (vec![row("c", b"calm")], 2));
    }

    #[tokio::test]
    async fn what_was_saved_under_other_settings_or_too_long_ago_is_forgotten() {
        let (_folder, memory) = memory(StateStoreConfig::default()).await;
        memory
            .save(
                "latency",
                &[
                    row("a", b""),
                    SavedState {
                        settings: [8; 32],
                        ..row("a", b"")
                    },
                ],
            )
            .await
            .unwrap();
        assert_eq!(
            memory
                .forget_other_settings("latency", "zscore", &[[8; 32], [9; 32]])
                .await,
            Ok(1)
        );
        assert_eq!(all(&memory, "latency").await.0.len(), 1);
        memory.prune().await.unwrap();
        assert_eq!(all(&memory, "latency").await.0.len(), 1, "it is not old");
        sql(&memory, "UPDATE memories SET saved_at = 0").await;
        memory.prune().await.unwrap();
        assert!(all(&memory, "latency").await.0.is_empty());
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_moved_aside_and_a_full_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        std::fs::write(&path, [7; 10_000]).unwrap();
        let config = StateStoreConfig {
            max_bytes: 1 << 20,
            ..StateStoreConfig::default()
        };
        let memory = StateStore::open(&path, config).await.unwrap();
        assert!(path.with_extension("damaged").exists());
        let error = memory
            .save("latency", &[row("a", &[1; 2 << 20])])
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("`max_bytes` of [memory]"),
            "{error}"
        );
        memory.save("latency", &[row("a", b"small")]).await.unwrap();
        assert_eq!(all(&memory, "latency").await.0.len(), 1);
    }
}
