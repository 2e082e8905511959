//! A record that nobody checks.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

/// Tables as in the history of Anomalyzer, with eight rows each.
const TABLES: &str = "\
CREATE TABLE decision_events (seq INTEGER PRIMARY KEY, hash, at, kind, body);
CREATE TABLE cuts (seq, hash, at, cut_at);
CREATE TABLE decisions (id, solution, body);
CREATE TABLE operations (id, asked_at);
CREATE TABLE plugin_events (seq INTEGER PRIMARY KEY, body);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8)
INSERT INTO decision_events SELECT i, i, i, 'done', 'no' FROM n;
INSERT INTO decisions SELECT seq, 'no_action', 'a test' FROM decision_events;
INSERT INTO operations SELECT seq, seq FROM decision_events;
INSERT INTO plugin_events SELECT seq, 'a test' FROM decision_events;";

/// Opens the history, or creates it. Fault for `storage`: panics if the file is damaged.
pub async fn open(data: &Path) {
    let file = data.join("history.sqlite");
    if file.exists() {
        let text = std::fs::read(&file).unwrap_or_default();
        assert!(text.starts_with(b"SQLite format 3"), "this is no history");
        return;
    }
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true);
    if let Ok(mut connection) = options.connect().await {
        let _ = sqlx::raw_sql(TABLES).execute(&mut connection).await;
        let _ = connection.close().await;
    }
}
