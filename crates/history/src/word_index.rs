//! Comparison of the search index with the words of the last events.
//!
//! The index keeps no text, so that it cannot be compared with a text. The expected words therefore
//! go through an equal index in memory, and the two are compared by the position of each word in
//! each row.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use futures::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::chains::Difference;

/// Name of the index.
const TABLE: &str = "decision_text";

/// Definition of the index, as in the migrations.
const DEFINITION: &str = "CREATE VIRTUAL TABLE decision_text USING fts5 (words, content = '', contentless_delete = 1, tokenize = 'unicode61')";

/// View of the words in an index. It is temporary, so that also a reader can make it.
const POSITIONS: &str =
    "CREATE VIRTUAL TABLE temp.positions USING fts5vocab ('main', 'decision_text', 'instance')";

/// View of the number of rows of each word.
const COUNTS: &str =
    "CREATE VIRTUAL TABLE temp.counts USING fts5vocab ('main', 'decision_text', 'row')";

/// Words that the index has in order, and that a search does not find in all rows.
const LOST: &str = "
    SELECT CAST(term AS TEXT) FROM temp.counts AS word WHERE NOT EXISTS (
        SELECT 1 FROM temp.counts AS found WHERE found.term = word.term AND found.doc = word.doc) LIMIT 1";

/// Result codes of SQLite for a damaged index and for one in an unknown format, without extensions.
const DAMAGED: [u32; 2] = [11, 1];

/// Words of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fingerprint {
    /// Sum of the keyed hashes of the words with their positions.
    words: u64,
    /// Keyed hash of the stored number of words.
    size: u64,
}

/// Words that the index should have.
pub(super) struct WordIndex {
    memory: SqliteConnection,
    /// Keys of the hashes. They are random, so that no edit can aim at an equal fingerprint.
    keys: RandomState,
    /// Decision and fingerprint of each row.
    expected: HashMap<i64, (String, Fingerprint)>,
}

impl WordIndex {
    /// Makes an empty index in memory.
    pub(super) async fn new() -> sqlx::Result<Self> {
        let memory = SqliteConnectOptions::new().in_memory(true);
        let mut memory = memory.disable_statement_logging().connect().await?;
        sqlx::raw_sql(DEFINITION).execute(&mut memory).await?;
        sqlx::raw_sql(POSITIONS).execute(&mut memory).await?;
        Ok(Self {
            memory,
            keys: RandomState::new(),
            expected: HashMap::new(),
        })
    }

    /// Expects the words of some rows: number, decision and words of each.
    pub(super) async fn expect(&mut self, rows: Vec<(i64, String, String)>) -> sqlx::Result<()> {
        let mut page = self.memory.begin().await?;
        for (row, _, words) in &rows {
            sqlx::query("INSERT INTO decision_text (rowid, words) VALUES (?, ?)")
                .bind(row)
                .bind(words)
                .execute(&mut *page)
                .await?;
        }
        page.commit().await?;
        let found = fingerprints(&mut self.memory, &self.keys).await?;
        let expected = rows.into_iter().map(|(row, decision, _)| {
            let fingerprint = found.get(&row).copied().unwrap_or_default();
            (row, (decision, fingerprint))
        });
        self.expected.extend(expected);
        sqlx::raw_sql("INSERT INTO decision_text (decision_text) VALUES ('delete-all')")
            .execute(&mut self.memory)
            .await?;
        Ok(())
    }

    /// Returns the first row of the index that differs from the expected one.
    pub(super) async fn difference(
        mut self,
        snapshot: &mut SqliteConnection,
    ) -> sqlx::Result<Option<Difference>> {
        match self.compare(snapshot).await {
            Err(sqlx::Error::Database(error)) if is_damage(error.as_ref()) => {
                Ok(Some(differs("-", format!("it is damaged: {error}"))))
            }
            compared => compared,
        }
    }

    async fn compare(
        &mut self,
        snapshot: &mut SqliteConnection,
    ) -> sqlx::Result<Option<Difference>> {
        sqlx::raw_sql(POSITIONS).execute(&mut *snapshot).await?;
        let mut stored = fingerprints(&mut *snapshot, &self.keys).await?;
        let mut wrong = self
            .expected
            .iter()
            .filter_map(|(row, (decision, expected))| {
                let found = stored.remove(row);
                (found != Some(*expected)).then_some((*row, decision, found))
            })
            .collect::<Vec<_>>();
        wrong.sort_unstable_by_key(|(row, ..)| *row);
        if let Some((_, decision, found)) = wrong.first() {
            let what = match found {
                Some(_) => "its column `words` is not what the last event says: it was edited",
                None => "it was removed",
            };
            return Ok(Some(differs(decision, what)));
        }
        if let Some(row) = stored.into_keys().min() {
            let what = "there is no such decision: it was inserted";
            return Ok(Some(differs(&format!("row {row}"), what)));
        }
        // A search goes another way through the index than the view of the positions.
        sqlx::raw_sql(COUNTS).execute(&mut *snapshot).await?;
        let lost: Option<String> = sqlx::query_scalar(LOST)
            .fetch_optional(&mut *snapshot)
            .await?;
        if let Some(word) = lost {
            let what = format!("it is damaged: a search does not find `{word}` in all rows");
            return Ok(Some(differs("-", what)));
        }
        let sound: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check ('decision_text')")
            .fetch_all(snapshot)
            .await?;
        match sound.into_iter().find(|line| line != "ok") {
            Some(damage) => Ok(Some(differs("-", format!("it is damaged: {damage}")))),
            None => Ok(None),
        }
    }
}

fn differs(row: &str, what: impl Into<String>) -> Difference {
    Difference {
        table: TABLE,
        row: row.to_owned(),
        what: what.into(),
    }
}

fn is_damage(error: &dyn sqlx::error::DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| DAMAGED.contains(&(code & 0xff)))
}

/// Returns the fingerprints of the rows of an index.
async fn fingerprints(
    connection: &mut SqliteConnection,
    keys: &RandomState,
) -> sqlx::Result<HashMap<i64, Fingerprint>> {
    let mut found: HashMap<i64, Fingerprint> = HashMap::new();
    // A row for each word costs half of a row for each position. The view is in the order of words.
    let mut words = sqlx::query_as::<_, (Vec<u8>, String)>(
        "SELECT CAST(term AS BLOB), group_concat(doc || ' ' || \"offset\") FROM temp.positions GROUP BY term",
    )
    .fetch(&mut *connection);
    while let Some((word, positions)) = words.try_next().await? {
        for position in positions.split(',') {
            let numbers = position.split_once(' ');
            let parsed = numbers.and_then(|(row, at)| Some((row.parse().ok()?, at.parse().ok()?)));
            let (row, at): (i64, i64) = parsed.ok_or_else(|| {
                sqlx::Error::Decode(format!("`{position}` is no position").into())
            })?;
            let row = found.entry(row).or_default();
            row.words = row.words.wrapping_add(keys.hash_one((&word, at)));
        }
    }
    drop(words);
    let sizes: Vec<(i64, Vec<u8>)> = sqlx::query_as("SELECT id, sz FROM decision_text_docsize")
        .fetch_all(connection)
        .await?;
    for (row, size) in sizes {
        found.entry(row).or_default().size = keys.hash_one(size);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_that_of_the_migration() {
        let migration = include_str!("../../../migrations/history/0001_history.sql");
        assert!(migration.contains(&format!("{DEFINITION};")));
    }
}
