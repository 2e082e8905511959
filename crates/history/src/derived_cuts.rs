//! Comparison of the tables of cuts with the recorded cuts.

use sqlx::SqliteConnection;

use super::chains::{Chain, Difference};
use super::cuts::{Cuts, RecordedCut};
use super::differs::{differs, edited};
use anomalyzer_domain::UnixMs;

/// Row of a table of cuts: number and hash of the last pruned event, its time, and the time of the
/// cut.
type CutRow = (i64, Vec<u8>, UnixMs, UnixMs);

/// Returns the first row that differs from the recorded cuts.
pub(super) async fn difference(
    snapshot: &mut SqliteConnection,
    cuts: &Cuts,
) -> sqlx::Result<Option<Difference>> {
    for chain in Chain::ALL {
        if let Some(table) = chain.cuts()
            && let Some(difference) = of_table(snapshot, table, cuts, chain).await?
        {
            return Ok(Some(difference));
        }
    }
    Ok(None)
}

async fn of_table(
    snapshot: &mut SqliteConnection,
    table: &'static str,
    cuts: &Cuts,
    chain: Chain,
) -> sqlx::Result<Option<Difference>> {
    let query = format!("SELECT seq, hash, at, cut_at FROM {table} ORDER BY seq");
    let rows: Vec<CutRow> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .fetch_all(snapshot)
        .await?;
    let mut missing = cuts.of(chain);
    for (seq, hash, at, cut_at) in rows {
        // An earlier version kept no record of its cuts before the last one.
        if cuts.earlier(chain).is_some_and(|earlier| seq < earlier.seq) {
            continue;
        }
        let row = seq.to_string();
        let Some(RecordedCut { last, times }) = missing.remove(&seq) else {
            let what = "no recorded cut says so: it was inserted";
            return Ok(Some(differs(table, row, what)));
        };
        let (last_at, recorded_at) = times.unwrap_or((at, cut_at));
        let columns = [
            ("hash", hex::encode(hash) == last.hash),
            ("at", at == last_at),
            ("cut_at", cut_at == recorded_at),
        ];
        if let Err(what) = edited(&columns) {
            return Ok(Some(differs(table, row, what)));
        }
    }
    let removed = missing.into_keys().next();
    Ok(removed.map(|seq| differs(table, seq.to_string(), "it was removed")))
}
