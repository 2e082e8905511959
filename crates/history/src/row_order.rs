//! Comparison of the numbers of rows with the order of the events. Pages of lists continue after
//! such a number.
//!
//! A row gets its number with its first event. Where the retention cut the chain, it may have cut
//! off first events, and the numbers have gaps. The rows whose first event is certain must then be
//! in the order of these events.

use futures::TryStreamExt;
use sqlx::SqliteConnection;

use super::chains::Difference;
use super::differs::differs;
use super::event::DecisionEventKind;

/// Rows of `decisions` in their order, with the first event of each.
const DECISIONS: &str = "
    SELECT decisions.seq, decisions.id, first.seq, first.kind FROM decisions JOIN decision_events AS first
        ON first.seq = (SELECT min(seq) FROM decision_events WHERE decision = decisions.id)
    ORDER BY decisions.seq";

/// Rows of `incidents` in their order, with the first event of each.
const INCIDENTS: &str = "
    SELECT incidents.seq, incidents.id, first.seq, first.kind FROM incidents JOIN incident_events AS first
        ON first.seq = (SELECT min(seq) FROM incident_events WHERE incident = incidents.id)
    ORDER BY incidents.seq";

/// Kind of the first event of an incident that an earlier version recorded. That version removed
/// incidents without a cut.
const ADOPTED: &str = "adopted";

/// Returns the first row of `decisions` whose number does not fit its first event.
pub(super) async fn decisions(
    snapshot: &mut SqliteConnection,
    is_cut: bool,
) -> sqlx::Result<Option<Difference>> {
    let proposed = DecisionEventKind::Proposed.as_str();
    // A decision is proposed once, so that this event is the first one also after a cut.
    let is_first = |kind: &str| !is_cut || kind == proposed;
    misplaced(snapshot, ("decisions", DECISIONS), is_first, !is_cut).await
}

/// Returns the first row of `incidents` whose number does not fit its first event.
pub(super) async fn incidents(
    snapshot: &mut SqliteConnection,
    is_cut: bool,
) -> sqlx::Result<Option<Difference>> {
    let adopted: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM incident_events WHERE kind = ?)")
            .bind(ADOPTED)
            .fetch_one(&mut *snapshot)
            .await?;
    let has_gaps = is_cut || adopted;
    misplaced(snapshot, ("incidents", INCIDENTS), |_| !is_cut, !has_gaps).await
}

/// Returns the first row that is not in the order of the first events. Without gaps, the numbers
/// are 1, 2, 3 and so on.
async fn misplaced(
    snapshot: &mut SqliteConnection,
    (table, query): (&'static str, &'static str),
    is_first: impl Fn(&str) -> bool,
    without_gaps: bool,
) -> sqlx::Result<Option<Difference>> {
    let mut rows = sqlx::query_as::<_, (i64, String, i64, String)>(query).fetch(snapshot);
    let (mut number, mut last_event) = (0, 0);
    while let Some((seq, id, event, kind)) = rows.try_next().await? {
        number += 1;
        if !is_first(&kind) {
            continue;
        }
        if event < last_event || without_gaps && seq != number {
            let what = "its column `seq` is not in the order of the events: it was edited";
            return Ok(Some(differs(table, id, what)));
        }
        last_event = event;
    }
    Ok(None)
}
