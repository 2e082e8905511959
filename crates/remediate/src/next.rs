//! Result of a stage in the life of a decision.

use anomalyzer_domain::{DecisionState, GuardVerdict};
use anomalyzer_history::Input;

/// Result of a stage: the state that follows, with its data.
pub(super) enum Next {
    /// A person must approve `decision.question`. The verdict names the rule that demands it.
    Hold(GuardVerdict, Option<Input>),
    /// The effect is verified. Without a summary the decision keeps its own.
    Verify(Option<String>),
    /// The decision ends in this state. Without a summary the decision keeps its own.
    End(DecisionState, Option<String>),
}
