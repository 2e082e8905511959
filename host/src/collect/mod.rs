//! Collects metrics for `metrics-topic`. Asks the sources, derives signals from raw samples, and
//! reports the sources that did not answer.

mod answer;
mod ask;
mod collector;
mod config;
mod deliver;
mod derive;
mod error;
mod exposition;
mod fetch;
pub mod http_sd;
mod prometheus;
mod scrape;
mod selector;
mod signal;
mod source;
mod status;
mod template;
mod text;

pub use collector::Collector;
pub use config::{
    CollectConfig, CollectError, HttpUrl, PrometheusConfig, ScrapeConfig, ScrapeTargets,
};
pub use deliver::{Sink, SinkError};
pub use error::SourceError;
pub use prometheus::Prometheus;
pub use scrape::{Endpoint, Groups};
pub use selector::{ParseSelectorError, Selector};
pub use signal::{
    Aggregate, DetectorConfig, Gauge, Quantile, Rate, Ratio, SignalConfig, SignalSource,
};
pub use source::{MetricSource, NoPrometheus, source};
pub use status::{SignalFailure, SignalStatus, StatusBoard};
pub use template::{TargetTemplate, TemplateError};
