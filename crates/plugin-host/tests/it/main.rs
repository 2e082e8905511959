//! Tests of the host through its public API, with guests written by hand. All tests are in one
//! binary, so that it is linked only once.
#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect is to fail"
)]

mod calls;
mod guests;
mod registry;
mod state;
