//! Life of a decision: a solution comes in, the guard judges it, an action performs operations step
//! by step, and the effect is verified or rolled back.

mod approval;
mod bounds;
mod candidates;
mod capability;
mod crew;
mod desk;
mod drive;
mod driver;
mod evidence;
mod executor;
mod facts;
pub mod grants;
mod hands;
mod incidents;
mod jumps;
mod kill_switch;
mod not_now;
mod origin;
mod perform;
mod proposal;
mod scale_back;
mod settle;
mod silences;
mod undo;
pub mod verification;
mod verify;

#[cfg(test)]
mod tests;

pub use approval::AnswerError;
pub use candidates::{Candidates, candidate_actions};
pub use capability::Capabilities;
pub use desk::Desk;
pub use executor::{AcceptError, Actor, ActorConfig};
pub use hands::Hands;
pub use incidents::OpenIncidents;
pub use kill_switch::KillSwitch;
pub use proposal::proposed;
pub use silences::{Silence, SilenceError, Silences};
