//! Guests and fixtures for the tests of several crates.

pub mod guest;
