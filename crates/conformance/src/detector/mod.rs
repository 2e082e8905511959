//! Trial of a detector.

mod bench;
mod checks;
mod determinism;
mod edge_cases;
mod feed;
mod lifecycle;
mod memory;
mod quiet;
mod series;
mod speed;

pub(super) use checks::examine;
