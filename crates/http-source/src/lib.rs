//! HTTP client of the servers that have metrics. Asks Prometheus, service discovery and metrics
//! pages within limits, with credentials, and gives each failure a remedy.
//!
//! It knows no signal and no schedule, and sends no request that changes anything.

mod access;
mod error;
mod fetch;
pub mod http_sd;
mod http_url;
mod prometheus;

pub use access::{AccessConfig, BasicAuth, Secret};
pub use error::{ClientError, SourceError};
pub use fetch::{Answer, Bounds, SourceClient};
pub use http_url::HttpUrl;
pub use prometheus::{Found, InstantAnswer, Prometheus, PrometheusConfig};
