//! Life of a decision: a solution comes in, the guard judges it, an action performs operations step
//! by step, and the effect is verified or rolled back.
//!
//! The file `life` shows all stages from top to bottom. The other files hold one stage or one part
//! each.

mod action;
mod action_limits;
mod admission;
mod aftermath;
mod alerts;
mod approval;
mod attempt;
mod candidates;
mod capability;
mod consumer;
mod decision_run;
mod deferred;
mod dispatch;
mod echo;
mod effects;
mod evidence;
mod executor;
mod follow_up;
mod guard_input;
mod held;
mod in_flight;
mod incidents;
mod inverse;
mod kill_switch;
mod life;
mod next;
mod off_record;
mod operation;
mod past_operations;
mod plugin_name;
mod proposal;
mod provenance;
mod question;
mod recovery;
mod rollback;
mod run;
mod scale_back;
mod silences;
mod undo;
mod verify;

#[cfg(test)]
mod tests;

pub use approval::AnswerError;
pub use candidates::{Candidates, candidate_actions};
pub use capability::Capabilities;
pub use dispatch::Dispatcher;
pub use executor::{AcceptError, Executor, ExecutorConfig};
pub use in_flight::InFlight;
pub use incidents::OpenIncidents;
pub use kill_switch::KillSwitch;
pub use off_record::{OffRecord, Unrecorded};
pub use silences::{Silence, SilenceError, Silences};
