//! The host's hands: operators that look at targets and change them, and the step machine that
//! drives an action.

mod actor;
mod candidates;
mod capability;
pub mod grants;
mod hands;
pub mod http;
mod kill_switch;
pub mod kubernetes;
pub mod local;
pub mod notify;
mod silences;

pub(crate) use actor::proposed;
pub use actor::{AcceptError, Actor, ActorConfig, AnswerError, Desk, OpenIncidents};
pub use candidates::{Candidates, candidate_actions};
pub use capability::Capabilities;
pub use hands::Hands;
pub use kill_switch::KillSwitch;
pub use silences::{Silence, SilenceError, Silences};
