//! Free loopback ports for servers that can't take over a bound socket.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;

use anyhow::{Result, bail};

/// Range of the ports. It is below the range that Linux uses for outgoing connections, so that no
/// client takes a server's port while the server restarts.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// Ports that this process has handed out, including ports that no server has bound yet.
static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// Returns a port of 127.0.0.1 on which nothing listens. Returns each port at most once per
/// process.
pub fn free() -> Result<u16> {
    run(1)
}

/// Returns the first of `count` consecutive free ports.
pub fn run(count: u16) -> Result<u16> {
    let mut taken = TAKEN.lock();
    let random = RandomState::new();
    for attempt in 0..1_000_u16 {
        let span = u64::from(
            RANGE
                .end
                .saturating_sub(count)
                .saturating_sub(RANGE.start)
                .max(1),
        );
        let first = RANGE.start + u16::try_from(random.hash_one(attempt) % span)?;
        let ports = first..first.saturating_add(count);
        let is_free = |port: u16| {
            !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        };
        if ports.clone().all(is_free) {
            taken.extend(ports);
            return Ok(first);
        }
    }
    bail!(
        "no {count} free ports in a row on 127.0.0.1 between {} and {}",
        RANGE.start,
        RANGE.end
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_ports_is_free_and_nobody_elses() {
        let runs: Vec<u16> = (0..50).map(|_| run(4).unwrap()).collect();
        let ports: HashSet<u16> = runs.iter().flat_map(|first| *first..*first + 4).collect();
        assert_eq!(ports.len(), 200);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }
}
