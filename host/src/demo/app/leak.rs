//! The fault `leak`: memory that is taken and never given back.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{App, faults::Fault};

const MIB: usize = 1 << 20;
/// How often it is looked whether there is something to leak.
const LOOK: Duration = Duration::from_millis(50);

/// Grows the memory while the fault is on, up to a cap in MiB; gives it back once the fault was
/// cleared by hand. What a fault that ended by its own time has leaked stays leaked.
pub async fn run(app: Arc<App>, cap_mib: u32, shutdown: CancellationToken) {
    let cap = usize::try_from(cap_mib).unwrap_or(usize::MAX);
    let mut leaked: Vec<Vec<u8>> = Vec::new();
    let mut cleared = app.faults.leaks_cleared();
    let mut owed = 0.0;
    while tokio::time::timeout(LOOK, shutdown.cancelled())
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
        owed += mib_a_second * LOOK.as_secs_f64();
        while owed >= 1.0 && leaked.len() < cap {
            leaked.push(touched_mib());
            owed -= 1.0;
            tokio::task::yield_now().await;
        }
        owed = owed.min(1.0);
    }
}

/// A MiB whose every page was written to, so that the system has to find memory for it.
fn touched_mib() -> Vec<u8> {
    let mut chunk = vec![0; MIB];
    // 4 KiB is the smallest page of any system that this runs on.
    for page in chunk.chunks_mut(4096) {
        page[0] = 1;
    }
    chunk
}
