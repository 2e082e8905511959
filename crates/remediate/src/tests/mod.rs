//! The acting part against a target whose every move a test decides.

mod act;
mod approve;
mod deny;
mod origin;
pub(super) mod rig;
mod run;
mod settle;
mod undo;
mod verify;
