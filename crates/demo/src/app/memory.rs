//! Memory usage of this process.

/// Returns the resident memory in bytes, from `/proc/self/statm` (its second field, in pages).
/// Returns `None` where there is no such file.
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
