//! Anomalyzer watches metrics, notices what is wrong, decides what to do about it, does it, and
//! checks that it helped. `ARCHITECTURE.md` is the map.

pub mod act;
pub mod api;
pub mod backtest;
pub mod bus;
pub mod cli;
pub mod codec;
pub mod collect;
pub mod config;
pub mod conformance;
mod crash;
pub mod demo;
pub mod detect;
pub mod diagnose;
pub mod domain;
pub mod guard;
pub mod history;
pub mod http_client;
mod kept;
pub mod plugin;
pub mod quality;
pub mod replay;
mod room;
pub mod serve;
pub mod telemetry;
pub mod verify;
