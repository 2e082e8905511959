//! The port through which a new signal reads its past.

use async_trait::async_trait;

use anomalyzer_domain::{Series, Target, UnixMs};

/// A source that keeps the past of signals.
#[async_trait]
pub trait Backfill: Send + Sync {
    /// Returns the series of `signal` from `from` to `to`, each with its target. Returns None if
    /// the source keeps no past.
    async fn history(
        &self,
        signal: &str,
        from: UnixMs,
        to: UnixMs,
    ) -> Option<Vec<(Target, Series)>>;
}
