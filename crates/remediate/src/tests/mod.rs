//! Tests of the executor against targets that the test controls.

mod act;
mod aftermath;
mod approve;
mod clock_ahead;
mod deny;
mod fixture;
mod provenance;
mod recovery;
pub(super) mod rig;
mod rollback;
mod run;
mod scale_back;
mod verify;
mod world;
