//! Fuzzes the entry point `names` of `entry_points.rs`.
#![no_main]

#[path = "../entry_points.rs"]
#[allow(dead_code, reason = "this is one of several entry points")]
mod entry_points;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry_points::names(bytes));
