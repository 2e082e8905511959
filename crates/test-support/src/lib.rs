//! Guests and fixtures for the tests of several crates.

#[expect(
    missing_docs,
    reason = "the fields are the functions of the guest, under their names"
)]
#[expect(
    clippy::unwrap_used,
    reason = "a guest that cannot be built fails its test"
)]
pub mod guest;
