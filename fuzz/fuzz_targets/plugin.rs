//! Fuzzes the door `plugin` of `doors.rs`.
#![no_main]

#[path = "../doors.rs"]
#[allow(dead_code, reason = "this is one of several doors")]
mod doors;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| doors::plugin(bytes));
