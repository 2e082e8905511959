//! Tests against a real Prometheus. Its function `time()` returns the time for which a query is
//! evaluated, so every value is known in advance.

use anomalyzer_collect::{MetricSource, Prometheus, PrometheusConfig};
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::Sample;

use anomalyzer_testbed::PrometheusOptions;

use super::prometheus::address;
use super::*;
use crate::demo_app;

/// Returns the current time in whole seconds, for which the answer of `time()` is exact.
fn now() -> i64 {
    now_ms() / 1000 * 1000
}

/// Starts a Prometheus that scrapes the application at `url`, as job `web`.
async fn scraping(url: &str) -> anomalyzer_testbed::Prometheus {
    let scraped = vec![url.strip_prefix("http://").unwrap().to_owned()];
    let options = PrometheusOptions {
        interval: Duration::from_millis(200),
        targets: vec![("web".to_owned(), scraped)],
        discoveries: Vec::new(),
    };
    anomalyzer_testbed::Prometheus::start(&options)
        .await
        .unwrap()
}

#[tokio::test]
async fn queries_and_their_errors_are_understood() {
    let Some(endpoint) =
        anomalyzer_testbed::shared::prometheus("queries and their errors are understood")
    else {
        return;
    };
    let prometheus = Prometheus::new(PrometheusConfig::at(address(&endpoint.url))).unwrap();
    prometheus.check().await.unwrap();
    let at = now();
    let scalar = prometheus.query("time()", at).await.unwrap();
    assert_eq!(
        scalar[0].samples,
        [Sample {
            at,
            value: at as f64 / 1000.0
        }]
    );
    let labelled = prometheus
        .query(r#"label_replace(vector(NaN), "app", "web", "", "")"#, at)
        .await
        .unwrap();
    assert_eq!(labelled[0].labels.to_string(), r#"{app="web"}"#);
    assert!(labelled[0].samples[0].value.is_nan());
    assert_eq!(
        prometheus.query("vector(-Inf)", at).await.unwrap()[0].samples[0].value,
        f64::NEG_INFINITY
    );
    assert_eq!(prometheus.query("no_such_metric", at).await, Ok(Vec::new()));
    for (promql, kind) in [
        ("sum(", "refused"),
        ("up[1m]", "wrong_shape"),
        (r#""text""#, "wrong_shape"),
    ] {
        let error = prometheus.query(promql, at).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[tokio::test]
async fn a_range_longer_than_prometheus_answers_at_once_is_fetched_in_pieces_without_gap_or_overlap()
 {
    let Some(endpoint) =
        anomalyzer_testbed::shared::prometheus("a long range is fetched in pieces")
    else {
        return;
    };
    let prometheus = Prometheus::new(PrometheusConfig::at(address(&endpoint.url))).unwrap();
    let signals = r#"
        [[signal]]
        name = "clock"
        source = { query = 'label_replace(vector(time()), "app", "web", "", "")' }
        target = { kind = "Deployment", name = "{{app}}" }
    "#;
    let to = now();
    let from = to - 24_999 * 1000;
    let signal = &read_signals(signals)[0];
    let series = prometheus
        .backfill(signal, from, to, Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(series.len(), 1);
    assert_eq!(
        series[0].labels.to_string(),
        r#"{__name__="clock", app="web"}"#
    );
    let expected = (0..25_000)
        .map(|second| from + second * 1000)
        .map(|at| Sample {
            at,
            value: at as f64 / 1000.0,
        });
    assert!(series[0].samples.iter().copied().eq(expected));
    let error = prometheus
        .query_range("time()", 0, to, Duration::from_millis(1))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("take a longer step"), "{error}");
}

#[tokio::test]
async fn a_series_that_ends_in_prometheus_is_closed() {
    let Some(endpoint) =
        anomalyzer_testbed::shared::prometheus("a series that ends in Prometheus is closed")
    else {
        return;
    };
    let ends = now_ms() / 1000 + 3;
    let signals = format!(
        r#"
        [[signal]]
        name = "ending"
        source = {{ query = 'vector(time()) < {ends}' }}
        target = {{ kind = "Process", name = "web" }}
        "#
    );
    let collect = format!(
        "interval = '100ms'\nprometheus = {{ url = '{}' }}",
        endpoint.url
    );
    let running = start(&collect, &signals, &Groups::new());
    let batch = running
        .batch("a value", |batch| !values(batch).is_empty())
        .await;
    assert_eq!(batch.coverage, coverage(1, 1, 0));
    assert_eq!(values(&batch)[0], batch.observed_at as f64 / 1000.0);
    let batch = running
        .batch("the end", |batch| values(batch).is_empty())
        .await;
    assert_eq!(
        (closed(&batch).len(), batch.coverage),
        (1, coverage(1, 0, 0))
    );
}

#[tokio::test]
async fn an_application_that_prometheus_can_not_scrape_any_more_is_silent_and_not_idle() {
    let test = "an application that Prometheus can not scrape any more is silent and not idle";
    let Some(_) = anomalyzer_testbed::shared::prometheus(test) else {
        return;
    };
    let app = demo_app::start(&[]).await;
    let prometheus = scraping(&app.url).await;
    let signals = r#"
        [[signal]]
        name = "memory"
        source = { query = 'process_resident_memory_bytes{job="web"}' }
        coverage = 'up{job="web"}'
        target = { kind = "Process", name = "{{job}}" }
    "#;
    let collect = format!(
        "interval = '100ms'\nprometheus = {{ url = '{}' }}",
        prometheus.url()
    );
    let running = start(&collect, signals, &Groups::new());
    let batch = running
        .batch("the memory", |batch| {
            values(batch).iter().any(|bytes| *bytes > 1e6)
        })
        .await;
    assert_eq!(batch.coverage, coverage(1, 1, 0));
    assert_eq!(app.post("/fault/mute").await, 200);
    let batch = running
        .batch("silence", |batch| {
            batch.coverage == coverage(1, 0, 1) && values(batch).is_empty()
        })
        .await;
    assert_eq!(closed(&batch), [""; 0]);
    prometheus.stop().await;
}

#[tokio::test]
async fn a_value_that_prometheus_has_not_seen_anew_for_long_is_none_or_it_is_said_that_it_may_be_old()
 {
    let test = "a value that Prometheus has not seen anew for long is none";
    let Some(_) = anomalyzer_testbed::shared::prometheus(test) else {
        return;
    };
    let server = Server::start(text("")).await;
    let prometheus = scraping(&server.url).await;
    let signals = r#"
        [[signal]]
        name = "queue"
        source = { query = 'app_queue_length' }
        target = { kind = "Process", name = "{{job}}" }
    "#;
    let collect = format!(
        "interval = '100ms'\nprometheus = {{ url = '{}', lookback = '10s' }}",
        prometheus.url()
    );
    let running = start(&collect, signals, &Groups::new());
    // The sample has a timestamp of its own, which does not advance. Prometheus does not report the
    // end of such a series.
    let seen_at = now_ms();
    server.say(Says::Text(format!("app_queue_length 7 {seen_at}\n")));
    running
        .batch("the value", |batch| values(batch) == [7.0])
        .await;
    let batch = running
        .batch("ten seconds later", |batch| {
            batch.observed_at - seen_at > 11_000
        })
        .await;
    let status = running.status("a status", |_| true).await;
    let said = status
        .notes
        .iter()
        .any(|note| note.contains("--query.lookback-delta"));
    assert_eq!(
        values(&batch),
        if said { vec![7.0] } else { Vec::new() },
        "{status:?}"
    );
    // Without the lookback, a query would return the value as current for five minutes.
    let plain = Prometheus::new(PrometheusConfig::at(address(&prometheus.url()))).unwrap();
    assert_eq!(
        plain.query("app_queue_length", now_ms()).await.unwrap()[0].samples[0].value,
        7.0
    );
    prometheus.stop().await;
}
