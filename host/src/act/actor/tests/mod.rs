//! The acting part against a target whose every move a test decides.

mod act;
mod deny;
mod origin;
pub(super) mod rig;
mod run;
mod settle;
mod verify;
