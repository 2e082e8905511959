//! Retention: prunes old events from the history.

use std::convert::Infallible;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use tokio::time::Instant;

use super::cuts::CutReason;
use super::prune::Prune;
use super::retention_config::RetentionConfig;
use super::{History, HistoryError};
use anomalyzer_domain::{Clock, UnixMs, millis};

/// Time between two checks.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);
/// Fraction of the covered time, as a divisor. If the file is too large, each step prunes this
/// fraction.
const SHARE: i64 = 20;
/// Jump of the clock ahead, or gap since the last event, that may be an error of the clock.
const DOUBTFUL_JUMP: Duration = Duration::from_secs(24 * 3600);
/// Time without pruning after a doubtful jump. People can correct the clock meanwhile.
const DOUBT: Duration = Duration::from_secs(24 * 3600);

/// Doubt about the wall clock. An event that is old by a wrong clock must not be pruned.
struct ClockDoubt {
    /// Last wall-clock time, and the time at which it was read.
    last: (UnixMs, Instant),
    until: Option<Instant>,
}

impl ClockDoubt {
    /// Compares the clock with the time of the last event.
    fn new(newest: Option<UnixMs>, now: UnixMs, read_at: Instant) -> Self {
        let mut doubt = Self {
            last: (newest.unwrap_or(now), read_at),
            until: None,
        };
        doubt.is_sure(now, read_at);
        doubt
    }

    /// Takes in the present time. Returns true if events may be pruned by it.
    fn is_sure(&mut self, now: UnixMs, read_at: Instant) -> bool {
        let (last, last_read_at) = std::mem::replace(&mut self.last, (now, read_at));
        let expected = last.saturating_add(millis(read_at.duration_since(last_read_at)));
        if now.saturating_sub(expected) > millis(DOUBTFUL_JUMP) {
            tracing::warn!("the clock may be wrong: old history events are not pruned for a day");
            self.until = Some(read_at + DOUBT);
        }
        self.until.is_none_or(|until| read_at >= until)
    }
}

/// Prunes periodically until `shutdown` is cancelled.
pub async fn retain(
    config: RetentionConfig,
    history: History,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let mut doubt = None;
    while config.keep_for.is_some() || config.max_bytes.is_some() {
        let (now, read_at) = (clock(), Instant::now());
        let pruned = async {
            if doubt.is_none() {
                let newest = history.newest().await?;
                doubt = Some(ClockDoubt::new(newest, now, read_at));
            }
            let is_sure = doubt
                .as_mut()
                .is_none_or(|doubt: &mut ClockDoubt| doubt.is_sure(now, read_at));
            match is_sure {
                true => retain_once(&config, &history, now).await,
                false => Ok(0),
            }
        };
        match pruned.await {
            Ok(0) => {}
            Ok(gone) => tracing::info!(gone, "pruned old history events"),
            Err(error) => tracing::error!(%error, "cannot prune old history events; retrying"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(PRUNE_INTERVAL) => {}
        }
    }
    shutdown.cancelled().await;
    Ok(())
}

/// Prunes once and returns the number of pruned events.
///
/// # Errors
/// Returns an error if the history can't be read or written.
pub async fn retain_once(
    config: &RetentionConfig,
    history: &History,
    now: UnixMs,
) -> Result<u64, HistoryError> {
    let mut gone = 0;
    if let Some(keep_for) = config.keep_for {
        let keep_for = millis(keep_for);
        let reason = CutReason {
            keep_for_ms: Some(keep_for),
            ..CutReason::default()
        };
        let before = now.saturating_sub(keep_for);
        gone += history
            .prune(Prune {
                before,
                now,
                reason,
            })
            .await?;
    }
    while let Some(max_bytes) = config.max_bytes
        && let bytes = history.bytes().await?
        && bytes > max_bytes
        && let Some(oldest) = history.oldest(now).await?
    {
        let reason = CutReason {
            max_bytes: Some(max_bytes),
            bytes: Some(bytes),
            ..CutReason::default()
        };
        let before = oldest.saturating_add((now.saturating_sub(oldest) / SHARE).max(1));
        let cut = history
            .prune(Prune {
                before,
                now,
                reason,
            })
            .await?;
        if cut == 0 {
            // The remaining events are still needed.
            break;
        }
        gone += cut;
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_prunes_nothing_for_a_day() {
        const DAY: i64 = 24 * 3_600_000;
        let begin = Instant::now();
        let after = |hours: u64| begin + Duration::from_secs(3600 * hours);
        let sure = |newest| ClockDoubt::new(newest, 100 * DAY, begin).is_sure(100 * DAY, begin);
        assert!(sure(None) && sure(Some(100 * DAY - 1_000)) && sure(Some(200 * DAY)));
        assert!(!sure(Some(98 * DAY)), "a gap since the last event");
        let mut doubt = ClockDoubt::new(None, 0, begin);
        assert!(doubt.is_sure(DAY, after(24)), "time passed");
        assert!(!doubt.is_sure(3_650 * DAY, after(25)));
        assert!(!doubt.is_sure(3_650 * DAY, after(48)));
        assert!(doubt.is_sure(3_651 * DAY, after(49)));
        assert!(doubt.is_sure(2 * DAY, after(50)), "a jump back is no doubt");
    }
}
