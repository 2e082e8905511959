//! Anomalyzer watches metrics, notices what is wrong, decides what to do about it, does it, and
//! checks that it helped. `ARCHITECTURE.md` is the map.

pub mod act;
pub mod api;
pub mod backtest;
pub mod bus;
pub mod cli;
pub mod codec;
pub mod collect;
pub mod common;
pub mod config;
pub mod conformance;
pub mod demo;
pub mod detect;
pub mod diagnose;
pub mod domain;
pub mod guard;
pub mod history;
pub mod operator;
pub mod plugin;
pub mod quality;
pub mod replay;
pub mod serve;
pub mod verify;
