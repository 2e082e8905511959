//! The command line of Anomalyzer. `ARCHITECTURE.md` is the map of the libraries below it.

pub mod cli;
