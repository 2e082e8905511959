//! Collects metrics for `metrics-topic`. Asks the sources, derives signals from raw samples, and
//! reports the sources that did not answer.

mod blind_spot_watch;
mod collector;
mod config;
mod derive;
mod error;
mod look_back;
mod metric_source;
mod moment;
mod prometheus;
mod publisher;
mod query;
mod reopenings;
mod round;
mod scrape;
mod series_limit;
mod signal;
mod source;
mod status;
mod template;

pub use anomalyzer_exposition as exposition;
pub use anomalyzer_exposition::{ParseSelectorError, Selector};
pub use anomalyzer_http_source::{
    AccessConfig, BasicAuth, HttpUrl, Prometheus, PrometheusConfig, Secret, SourceError,
};

pub use collector::Collector;
pub use config::{CollectConfig, ScrapeConfig, ScrapeTargets};
pub use error::CollectError;
pub use metric_source::MetricSource;
pub use publisher::{Sink, SinkError};
pub use scrape::{Endpoint, Groups};
pub use signal::{Aggregate, Gauge, Quantile, Rate, Ratio, SignalConfig, SignalSource};
pub use source::{NoPrometheus, source};
pub use status::{SignalFailure, SignalStatus, StatusBoard};
pub use template::{TargetTemplate, TemplateError};
