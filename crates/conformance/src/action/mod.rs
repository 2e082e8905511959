//! Trial of an action.

mod cases;
mod checks;
mod simulate;
mod speed;
mod world;

pub(super) use checks::examine;
