//! State that the handlers of the application share.

use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use super::limit::Limit;
use super::metrics::Metrics;
use super::pool::Pool;

/// Shared state of the service's handlers.
pub struct App {
    /// Limit of the rate of requests. None if the rate is unlimited.
    pub limit: Option<Limit>,
    /// Workers and their queue.
    pub pool: Pool,
    /// Faults that are switched on.
    pub faults: Faults,
    /// Counters and durations of requests.
    pub metrics: Metrics,
    /// Token that is cancelled at the shutdown.
    pub shutdown: CancellationToken,
}
