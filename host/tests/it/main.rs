//! Tests of the promises between the parts, over real sockets, files and servers. All tests are in
//! one binary, so that it is linked only once.
#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect is to fail"
)]

mod api;
mod app;
mod audit;
mod blind_spots;
#[path = "../bus_contract/mod.rs"]
mod bus_contract;
mod check;
mod collect;
mod contract;
mod data_folder;
mod decisions;
mod demo_app;
mod detect;
mod diagnose;
mod docs;
mod evil;
mod examples;
mod fixture;
mod fuzz;
mod history;
mod http;
mod kubernetes;
mod local;
mod log_of_record;
mod memory;
mod metrics;
mod notify;
mod operators;
mod other_languages;
mod plugin_upload_and_folder;
mod plugins;
mod previous;
mod quality;
mod receiver;
mod replay;
mod retention;
mod roles;
mod secrets;
mod serve;
mod wait;
