//! Tests of `/metrics` with a real Prometheus that scrapes it.

use std::sync::Arc;
use std::time::Duration;

use anomalyzer_api::{
    Access, ApiConfig, EngineState, PartHealth, ProbeBackend, engine_router, serve,
};
use anomalyzer_collect::{MetricSource, Prometheus, PrometheusConfig};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::metrics::{Metrics, SECONDS};
use anomalyzer_domain::Labels;
use anomalyzer_testbed::PrometheusOptions;
use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::wait::until;

/// Longest wait for a scrape.
const SCRAPED_WITHIN: Duration = Duration::from_secs(30);

/// Labels that Prometheus adds to each series.
const ADDED: [&str; 2] = ["instance", "job"];

/// Backend without parts.
struct NoParts;

#[async_trait]
impl ProbeBackend for NoParts {
    fn health(&self) -> Vec<PartHealth> {
        Vec::new()
    }
}

/// Serves the metrics at a free port until `shutdown`, and returns `host:port`.
async fn expose(metrics: Metrics, shutdown: CancellationToken) -> String {
    let config = ApiConfig::default();
    let access = Access::load(&config, config.engine_listen).unwrap();
    let state = EngineState::new(access, Arc::new(NoParts), metrics.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(serve(listener, engine_router(state), metrics, shutdown));
    address
}

/// Metrics of every kind, counted here or elsewhere, with numbers and labels at the edges.
fn metrics() -> Metrics {
    let metrics = Metrics::default();
    let signal = [("signal", "a\"b\\c\nd {le=\"1.0\"}")];
    metrics
        .counter("anomalyzer_samples_total", "Samples.", &signal)
        .add(3);
    let plugin = [("plugin", "drain"), ("version", "0.1.0")];
    metrics
        .counter("anomalyzer_plugin_calls_total", "Calls.", &plugin)
        .follow(u64::from(u32::MAX));
    metrics
        .gauge("anomalyzer_plugin_memory_bytes", "Memory.", &plugin)
        .set(3_145_728.0);
    metrics
        .gauge("anomalyzer_series", "Open series.", &[])
        .set(f64::INFINITY);
    metrics
        .histogram(
            "anomalyzer_plugin_call_seconds",
            "Took.",
            &plugin,
            &[0.000008192, 0.5],
        )
        .follow(&[1, 2, 4], 60.25);
    let took = metrics.histogram("anomalyzer_history_commit_seconds", "Took.", &[], SECONDS);
    for seconds in [0.004, 0.75, 40.0] {
        took.observe(seconds);
    }
    metrics
}

#[tokio::test]
async fn prometheus_stores_the_names_labels_and_values_of_metrics() {
    let test = "Prometheus stores the names, labels and values of /metrics";
    let Some(_) = anomalyzer_testbed::shared::prometheus(test) else {
        return;
    };
    let shutdown = CancellationToken::new();
    let _stops = shutdown.clone().drop_guard();
    let target = expose(metrics(), shutdown).await;
    let options = PrometheusOptions {
        interval: Duration::from_secs(1),
        targets: vec![("anomalyzer".to_owned(), vec![target])],
        discoveries: Vec::new(),
    };
    let server = anomalyzer_testbed::Prometheus::start(&options)
        .await
        .unwrap();
    let config = PrometheusConfig::at(server.url().try_into().unwrap());
    let prometheus = Prometheus::new(config).unwrap();
    let values = async |promql: &str| {
        let series = prometheus.query(promql, now_ms()).await.unwrap();
        let mut lines: Vec<String> = series
            .iter()
            .map(|series| {
                let labels = series.labels.iter();
                let own = Labels::new(labels.filter(|(name, _)| !ADDED.contains(name)));
                format!("{own} {}", series.samples[0].value)
            })
            .collect();
        lines.sort();
        lines
    };

    // The API counts the first scrape after it is answered: the second scrape shows it.
    let requests = "anomalyzer_http_requests_total{route='/metrics',status='200'} > 0";
    until("a counted scrape", SCRAPED_WITHIN, async || {
        (!values(requests).await.is_empty()).then_some(())
    })
    .await;
    let ours = "{__name__=~'anomalyzer_.*',__name__!='anomalyzer_http_requests_total'}";
    // A scrape that fails on a busy machine ends all series for a moment.
    let stored = until("the stored series", SCRAPED_WITHIN, async || {
        Some(values(ours).await).filter(|stored| !stored.is_empty())
    })
    .await;
    insta::assert_snapshot!(stored.join("\n"), @r#"
    {__name__="anomalyzer_history_commit_seconds_bucket", le="+Inf"} 3
    {__name__="anomalyzer_history_commit_seconds_bucket", le="0.0001"} 0
    {__name__="anomalyzer_history_commit_seconds_bucket", le="0.0005"} 0
    {__name__="anomalyzer_history_commit_seconds_bucket", le="0.001"} 0
    {__name__="anomalyzer_history_commit_seconds_bucket", le="0.005"} 1
    {__name__="anomalyzer_history_commit_seconds_bucket", le="0.01"} 1
    {__name__="anomalyzer_history_commit_seconds_bucket", le="0.025"} 1
    {__name__="anomalyzer_history_commit_seconds_bucket", le="0.05"} 1
    {__name__="anomalyzer_history_commit_seconds_bucket", le="0.1"} 1
    {__name__="anomalyzer_history_commit_seconds_bucket", le="0.25"} 1
    {__name__="anomalyzer_history_commit_seconds_bucket", le="0.5"} 1
    {__name__="anomalyzer_history_commit_seconds_bucket", le="1"} 2
    {__name__="anomalyzer_history_commit_seconds_bucket", le="10"} 2
    {__name__="anomalyzer_history_commit_seconds_bucket", le="2.5"} 2
    {__name__="anomalyzer_history_commit_seconds_bucket", le="30"} 2
    {__name__="anomalyzer_history_commit_seconds_bucket", le="5"} 2
    {__name__="anomalyzer_history_commit_seconds_count"} 3
    {__name__="anomalyzer_history_commit_seconds_sum"} 40.754
    {__name__="anomalyzer_http_connections_refused_total", reason="accept"} 0
    {__name__="anomalyzer_http_connections_refused_total", reason="room"} 0
    {__name__="anomalyzer_http_requests_refused_total"} 0
    {__name__="anomalyzer_plugin_call_seconds_bucket", le="+Inf", plugin="drain", version="0.1.0"} 7
    {__name__="anomalyzer_plugin_call_seconds_bucket", le="0.000008192", plugin="drain", version="0.1.0"} 1
    {__name__="anomalyzer_plugin_call_seconds_bucket", le="0.5", plugin="drain", version="0.1.0"} 3
    {__name__="anomalyzer_plugin_call_seconds_count", plugin="drain", version="0.1.0"} 7
    {__name__="anomalyzer_plugin_call_seconds_sum", plugin="drain", version="0.1.0"} 60.25
    {__name__="anomalyzer_plugin_calls_total", plugin="drain", version="0.1.0"} 4294967295
    {__name__="anomalyzer_plugin_memory_bytes", plugin="drain", version="0.1.0"} 3145728
    {__name__="anomalyzer_samples_total", signal="a\"b\\c\nd {le=\"1.0\"}"} 3
    {__name__="anomalyzer_series"} inf
    "#);
    server.stop().await;
}
