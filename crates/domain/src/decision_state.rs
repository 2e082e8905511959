//! The states of a decision, and the allowed transitions between them.

use serde::{Deserialize, Serialize};

use super::DecisionId;

/// State of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DecisionState {
    /// The solution is on record. Nothing is decided yet.
    Proposed,
    /// The decision waits for a person.
    Held,
    /// The guard, the grants or a person refused the solution.
    Denied,
    /// The solution was judged and recorded, but the mode forbids to perform it.
    Shadowed,
    /// Operations are under way.
    Acting,
    /// The decision waits for fresh samples.
    Verifying,
    /// The decision ended.
    Done,
    /// The decision ended, and its operations were taken back.
    Undone,
    /// The action gave up, or an operation failed.
    Failed,
}

/// A transition that is not in the table: a bug in the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "decision {decision} can't go from {} to {}: this is a bug, please report it",
    .from.as_str(), .to.as_str()
)]
pub struct InvalidTransition {
    /// The decision.
    pub decision: DecisionId,
    /// Its state, which is unchanged.
    pub from: DecisionState,
    /// The refused state.
    pub to: DecisionState,
}

impl DecisionState {
    /// All states.
    pub const ALL: [Self; 9] = [
        Self::Proposed,
        Self::Held,
        Self::Denied,
        Self::Shadowed,
        Self::Acting,
        Self::Verifying,
        Self::Done,
        Self::Undone,
        Self::Failed,
    ];

    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns true if the host has nothing to do: the decision ended, or it waits for a person.
    pub fn needs_no_work(self) -> bool {
        self == Self::Held || self.is_terminal()
    }

    /// Returns true if the decision ended. A held decision has not.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Proposed | Self::Held | Self::Acting | Self::Verifying => false,
            Self::Denied | Self::Shadowed | Self::Done | Self::Undone | Self::Failed => true,
        }
    }

    /// Returns true if a decision in this state may go to the state `next`.
    ///
    /// | from | to | event |
    /// |---|---|---|
    /// | proposed | denied | the guard refuses the solution |
    /// | proposed | acting | the guard lets the action run |
    /// | acting | held | an operation, or taking one back, needs a person's approval |
    /// | acting | verifying | an operation changed something, or may have, or was only foreseen |
    /// | acting | done, denied, shadowed, failed | the action ended without a change to verify |
    /// | acting | done, undone | taking the operations back ended |
    /// | held | proposed | a person approved the operation: the guard is asked anew |
    /// | held | acting | a person approved taking an operation back |
    /// | held | denied, verifying | a person rejected the operation, or nobody answered in time |
    /// | held | done, undone | a person rejected taking an operation back |
    /// | verifying | done, shadowed | the verification ended |
    /// | verifying | acting | the operations did not help and are taken back |
    /// | done | acting | the incident is over, and the added replicas are taken back |
    pub fn may_become(self, next: Self) -> bool {
        use DecisionState::{
            Acting, Denied, Done, Failed, Held, Proposed, Shadowed, Undone, Verifying,
        };
        match self {
            Proposed => matches!(next, Denied | Acting),
            Acting => matches!(
                next,
                Held | Verifying | Done | Undone | Denied | Shadowed | Failed
            ),
            Held => matches!(next, Proposed | Acting | Denied | Verifying | Done | Undone),
            Verifying => matches!(next, Done | Shadowed | Acting),
            Done => matches!(next, Acting),
            Denied | Shadowed | Undone | Failed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::DecisionState::{Acting, Denied, Done, Held, Proposed, Undone, Verifying};
    use super::*;
    use crate::{Decision, Solution, testing};

    fn solution() -> Solution {
        testing::solution("dec-1", "scale_up")
    }

    fn walk(path: &[DecisionState]) -> Result<Decision, InvalidTransition> {
        let mut decision = Decision::proposed(&solution());
        for next in path {
            decision.transition(*next)?;
        }
        Ok(decision)
    }

    #[test]
    fn a_decision_is_held_approved_performed_and_taken_back() {
        let life = [
            Acting, Held, Proposed, Acting, Verifying, Acting, Held, Acting, Undone,
        ];
        assert_eq!(walk(&life).unwrap().state(), Undone);
        let scaled_back_later = [Acting, Verifying, Done, Acting, Undone];
        assert_eq!(walk(&scaled_back_later).unwrap().state(), Undone);
    }

    #[test]
    fn a_refused_transition_names_the_decision_and_both_states_and_changes_nothing() {
        let mut decision = walk(&[Denied]).unwrap();
        let error = decision.transition(Acting).unwrap_err();
        assert_eq!(
            error.to_string(),
            "decision dec-1 can't go from denied to acting: this is a bug, please report it"
        );
        assert_eq!(decision.state(), Denied);
        assert!(walk(&[Held]).is_err(), "nothing is held before it acts");
        assert!(walk(&[Acting, Acting]).is_err(), "no state follows itself");
    }

    #[test]
    fn a_recorded_end_is_terminal_and_keeps_its_summary() {
        let done = Decision::carried_out(&solution(), "stopped by anna".into());
        let failed = Decision::unpublishable(&solution(), "too large".into());
        assert_eq!(
            (done.state(), failed.state()),
            (Done, DecisionState::Failed)
        );
        assert_eq!(done.summary.as_deref(), Some("stopped by anna"));
        assert_eq!(failed.summary.as_deref(), Some("too large"));
        assert_eq!(done.solution, "scale_up");
    }

    #[test]
    fn the_json_form_names_the_state_after_the_attempt() {
        let json = serde_json::to_string(&Decision::proposed(&solution())).unwrap();
        assert!(
            json.contains(r#""attempt":0,"state":"proposed","target":null"#),
            "{json}"
        );
        assert_eq!(
            serde_json::from_str::<Decision>(&json).unwrap(),
            Decision::proposed(&solution())
        );
    }

    #[test]
    fn every_state_is_reachable_and_leads_to_an_end() {
        for state in DecisionState::ALL {
            let enters = |from: &DecisionState| from.may_become(state);
            assert!(
                state == Proposed || DecisionState::ALL.iter().any(enters),
                "{state:?}"
            );
            let ends = DecisionState::ALL
                .iter()
                .any(|next| state.may_become(*next) && (next.is_terminal() || *next == Acting));
            assert!(state.is_terminal() || ends, "{state:?}");
        }
    }

    #[test]
    fn the_names_are_those_on_the_wire() {
        let names = [
            "proposed",
            "held",
            "denied",
            "shadowed",
            "acting",
            "verifying",
            "done",
            "undone",
            "failed",
        ];
        testing::assert_names::<DecisionState>(&names);
        assert_eq!(DecisionState::ALL.map(DecisionState::as_str), names);
    }

    fn any_state() -> impl Strategy<Value = DecisionState> {
        prop::sample::select(DecisionState::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn a_decision_follows_the_table_and_nothing_else(
            path in prop::collection::vec(any_state(), 0..40),
        ) {
            let mut decision = Decision::proposed(&solution());
            for next in path {
                let before = decision.clone();
                let result = decision.transition(next);
                prop_assert_eq!(result.is_ok(), before.state().may_become(next));
                if result.is_err() {
                    prop_assert_eq!(&decision, &before);
                } else {
                    prop_assert_eq!(decision.state(), next);
                    // Of the ended decisions only a done one is opened again, to take replicas
                    // back.
                    prop_assert!(!before.state().is_terminal() || before.state() == Done);
                    prop_assert!(next != Proposed || before.state() == Held);
                }
            }
        }
    }
}
