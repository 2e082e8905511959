//! Tests of collecting from the demo application: the four derivations from its real behaviour.

use anomalyzer_collect::Endpoint;
use anomalyzer_demo::load::{Load, LoadSettings};
use tokio::sync::watch;

use super::*;
use crate::demo_app;

const SIGNALS: &str = r#"
    [[signal]]
    name = "traffic"
    source = { rate = { of = "app_requests_total", window = "2s" } }
    target = { kind = "Process", name = "web" }
    [[signal]]
    name = "errors"
    source = { ratio = { of = "app_requests_errors_total", over = "app_requests_total", window = "2s" } }
    target = { kind = "Process", name = "web" }
    [[signal]]
    name = "latency"
    source = { quantile = { of = 'http_request_duration_seconds{status="200"}', q = 0.9, window = "2s" } }
    target = { kind = "Process", name = "web" }
    [[signal]]
    name = "memory"
    source = { gauge = { of = "process_resident_memory_bytes", aggregate = "max" } }
    target = { kind = "Process", name = "web" }
"#;

#[tokio::test]
async fn a_surge_is_seen_in_traffic_latency_and_errors_and_a_muted_application_is_not_an_idle_one()
{
    let app = demo_app::start(&["--workers=2", "--queue=16", "--work-ms=20"]).await;
    let (_endpoints, receiver) = watch::channel(vec![Endpoint {
        replica: "web-1".to_owned(),
        url: app.url.clone(),
    }]);
    let groups = Groups::from([("web".to_owned(), receiver)]);
    let collect = "interval = '200ms'\nscrape = [{ job = 'web', targets = { group = 'web' }, timeout = '2s' }]";
    let running = start(collect, SIGNALS, &groups);
    let is = |batch: &MetricBatch, signal, fits: fn(f64) -> bool| {
        batch.signal == signal && values(batch).first().is_some_and(|value| fits(*value))
    };

    // The application receives no requests yet.
    running
        .batch("no traffic", |batch| {
            is(batch, "traffic", |rate| rate == 0.0)
        })
        .await;
    let idle = running
        .batch("the idle latency", |batch| batch.signal == "latency")
        .await;
    assert_eq!((values(&idle), idle.coverage.failed), (vec![], 0));
    running
        .batch("the memory", |batch| {
            is(batch, "memory", |bytes| bytes > 1e6)
        })
        .await;

    let settings = LoadSettings {
        rate: 30.0,
        noise: 0.0,
        amplitude: 0.0,
        ..LoadSettings::default()
    };
    let (_, targets) = watch::channel(vec![app.url.clone()]);
    let shutdown = CancellationToken::new();
    let load = Load::start(targets, &settings, shutdown.clone()).unwrap();
    let _ends = shutdown.drop_guard();
    running
        .batch("the usual traffic", |batch| {
            is(batch, "traffic", |rate| (15.0..50.0).contains(&rate))
        })
        .await;
    running
        .batch("the usual latency", |batch| {
            is(batch, "latency", |seconds| (0.02..0.15).contains(&seconds))
        })
        .await;
    running
        .batch("no errors", |batch| {
            is(batch, "errors", |share| share == 0.0)
        })
        .await;

    load.set_factor(8.0);
    running
        .batch("the surge", |batch| {
            is(batch, "traffic", |rate| rate > 100.0)
        })
        .await;
    running
        .batch("the latency of the queue", |batch| {
            is(batch, "latency", |seconds| seconds > 0.15)
        })
        .await;
    running
        .batch("errors", |batch| is(batch, "errors", |share| share > 0.2))
        .await;

    assert_eq!(app.post("/fault/mute").await, 200);
    for signal in ["traffic", "errors", "latency", "memory"] {
        let muted =
            |batch: &MetricBatch| batch.signal == signal && batch.coverage == coverage(1, 0, 1);
        assert!(running.batch("silence", muted).await.series.is_empty());
    }
}
