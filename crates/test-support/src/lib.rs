//! Guests and fixtures for the tests of several crates.

#[expect(
    missing_docs,
    reason = "the fields are the functions of the guest, under their names"
)]
pub mod guest;
