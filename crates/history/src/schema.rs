//! Schema of the file, in the versions that the migrations create one after another.

/// Migrations of the file.
pub(super) static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/history");

/// Returns the newest version of the schema.
pub(super) fn version() -> Option<i64> {
    MIGRATIONS.iter().map(|migration| migration.version).max()
}
