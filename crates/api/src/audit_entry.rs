//! Records what people do to the host itself (kill switch, silences, feedback). Each entry is a
//! decision that has already ended, so that one audit chain holds everything.

use super::action::request;
use super::state::ApiState;
use anomalyzer_domain::{DecisionId, DecisionState};
use anomalyzer_history::{DecisionEvent, DecisionEventKind, HistoryError};
use anomalyzer_remediate::proposed;

/// Records that `by` did `what`, and returns true if the record was written. A failure is logged
/// and does not undo the change: a full disk must not keep anybody from stopping the host.
pub(super) async fn record_admin_event(
    state: &ApiState,
    what: &str,
    by: &str,
    why: String,
) -> bool {
    let recorded = try_record_admin_event(state, what, by, why).await;
    if let Err(error) = &recorded {
        tracing::error!(what, by, %error, "cannot record an administrative change");
    }
    recorded.is_ok()
}

/// Records that `by` did `what`; see [`record_admin_event`].
pub(super) async fn try_record_admin_event(
    state: &ApiState,
    what: &str,
    by: &str,
    why: String,
) -> Result<(), HistoryError> {
    let now = (state.clock)();
    let id = DecisionId::derive(&["api", &format!("{:016x}", fastrand::u64(..))]);
    let mut decision = proposed(
        &request(what.to_owned(), why, id.to_string(), by.to_owned(), now),
        None,
    );
    decision.state = DecisionState::Done;
    decision.summary = Some(format!("{what} by {by}"));
    let event = DecisionEvent {
        kind: DecisionEventKind::Ended,
        at: now,
        decision,
        input: None,
    };
    state.history.record(event).await.map(drop)
}
