//! Ids for what is not derived from anything that was seen before.

use std::hash::{BuildHasher, Hasher, RandomState};

/// 64 random bits in hex.
pub(super) fn fresh() -> String {
    // Every RandomState is keyed anew from the system's randomness.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}
