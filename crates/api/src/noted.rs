//! What people do to the host itself stands in the record too: as a decision that is over.

use super::action::request;
use super::fresh::fresh;
use super::state::ApiState;
use anomalyzer_domain::{DecisionId, DecisionState};
use anomalyzer_history::{DecisionEvent, DecisionEventKind, HistoryError};
use anomalyzer_remediate::proposed;

/// Records it, and says whether it is on record. It was done already: a full disk must not keep
/// anybody from stopping the host, and is logged.
pub(super) async fn note(state: &ApiState, what: &str, by: &str, why: String) -> bool {
    let noted = try_to_note(state, what, by, why).await;
    if let Err(error) = &noted {
        tracing::error!(what, by, %error, "what somebody did is not on record");
    }
    noted.is_ok()
}

/// Records it.
pub(super) async fn try_to_note(
    state: &ApiState,
    what: &str,
    by: &str,
    why: String,
) -> Result<(), HistoryError> {
    let now = (state.clock)();
    let id = DecisionId::derive(&["api", &fresh()]);
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
