//! Whether a SQLite file that could not grow can again: without a try, `/health` would say so only
//! at the next write, which may be long in coming.

use std::time::Duration;

use sqlx::SqliteConnection;

/// How often to try while a file cannot be written.
pub(crate) const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Grows the file by 64 KiB, for a moment. The rest of SQLite's free pages are then used by the
/// next records.
pub(crate) async fn probe(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    for statement in [
        "CREATE TABLE IF NOT EXISTS room (filled BLOB NOT NULL) STRICT",
        "INSERT INTO room VALUES (randomblob(65536))",
        "DELETE FROM room",
    ] {
        sqlx::query(statement).execute(&mut *connection).await?;
    }
    Ok(())
}
