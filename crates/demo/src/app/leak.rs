//! The fault `leak`: takes memory and never gives it back.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::faults::Fault;
use super::state::App;

const MIB: usize = 1 << 20;
/// Time between two steps of the leak.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Grows the memory while the fault is on, up to `cap_mib`. Frees it once the fault was cleared by
/// hand. If the fault ends by its own time, the leaked memory stays leaked.
pub async fn run(app: Arc<App>, cap_mib: u32, shutdown: CancellationToken) {
    let cap = usize::try_from(cap_mib).unwrap_or(usize::MAX);
    let mut leaked: Vec<Vec<u8>> = Vec::new();
    let mut cleared = app.faults.leaks_cleared();
    let mut owed = 0.0;
    while tokio::time::timeout(POLL_INTERVAL, shutdown.cancelled())
        .await
        .is_err()
    {
        let cleared_now = app.faults.leaks_cleared();
        if cleared_now != cleared {
            cleared = cleared_now;
            leaked = Vec::new();
        }
        let Some(mib_a_second) = app.faults.strength(Fault::Leak) else {
            continue;
        };
        owed += mib_a_second * POLL_INTERVAL.as_secs_f64();
        while owed >= 1.0 && leaked.len() < cap {
            leaked.push(touched_mib());
            owed -= 1.0;
            tokio::task::yield_now().await;
        }
        owed = owed.min(1.0);
    }
}

/// Returns one MiB with a write to each of its pages, so that the system has to provide memory for
/// it.
fn touched_mib() -> Vec<u8> {
    let mut chunk = vec![0; MIB];
    // The smallest page of any supported system is 4 KiB.
    for page in chunk.chunks_mut(4096) {
        page[0] = 1;
    }
    chunk
}
