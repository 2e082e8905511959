//! Tests of queries to servers that answer like Prometheus, and to servers that do not.

use anomalyzer_collect::{HttpUrl, MetricSource, NoPrometheus, Prometheus, PrometheusConfig};
use anomalyzer_domain::Target;

use super::*;

const SIGNAL: &str = r#"
    [[signal]]
    name = "latency"
    source = { query = "the query" }
    target = { namespace = "{{namespace}}", kind = "Deployment", name = "{{app}}" }
"#;

fn configured(server: &Server) -> String {
    format!(
        "interval = '50ms'\nprometheus = {{ url = '{}', timeout = '300ms' }}",
        server.url
    )
}

/// Builds an answer of Prometheus with the given series, each an app and its value.
fn vector(series: &[(&str, &str)]) -> Says {
    let series = series.iter().map(|(app, value)| {
        let metric = format!(r#"{{"__name__":"m","namespace":"shop","app":"{app}"}}"#);
        format!(r#"{{"metric":{metric},"value":[1,"{value}"]}}"#)
    });
    let series = series.collect::<Vec<_>>().join(",");
    Says::Text(format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#
    ))
}

fn app(name: &str) -> Target {
    Target::new("shop", "Deployment", name)
}

#[tokio::test]
async fn the_series_go_to_the_targets_that_their_labels_name() {
    let server = Server::start(vector(&[("web", "0.5"), ("api", "NaN"), ("", "7")])).await;
    let running = start(&configured(&server), SIGNAL, &Groups::new());
    let web = running
        .batch("web", |batch| batch.target == Some(app("web")))
        .await;
    assert_eq!((values(&web), web.coverage), (vec![0.5], coverage(1, 1, 0)));
    assert_eq!(
        web.series[0].labels.to_string(),
        r#"{__name__="latency", app="web", namespace="shop"}"#
    );
    assert_eq!(web.series[0].samples[0].at, web.observed_at);
    let api = running
        .batch("api", |batch| batch.target == Some(app("api")))
        .await;
    assert!(values(&api)[0].is_nan());
    let status = running
        .status("a note", |status| !status.notes.is_empty())
        .await;
    assert!(
        status
            .notes
            .iter()
            .any(|note| note.contains("1 series have no target")),
        "{:?}",
        status.notes
    );
    assert_eq!(
        (status.targets, status.series, status.failing),
        (2, 2, false)
    );
}

#[tokio::test]
async fn a_failure_is_told_for_each_known_target_and_closes_nothing() {
    let server = Server::start(vector(&[("web", "0.5"), ("api", "1")])).await;
    let running = start(&configured(&server), SIGNAL, &Groups::new());
    for (says, kind) in [
        (Says::Html, "unexpected"),
        (Says::Status(500, "oops"), "status"),
        (
            Says::Status(
                503,
                r#"{"status":"error","errorType":"timeout","error":"too slow"}"#,
            ),
            "failed",
        ),
        (
            Says::Status(
                400,
                r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
            ),
            "refused",
        ),
        (text(r#"{"status":"success","data":{"resu"#), "cut_short"),
        (
            Says::Half(r#"{"status":"success","data":{"resu"#),
            "cut_short",
        ),
        (
            text(r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":7}]}}"#),
            "malformed",
        ),
        (
            text(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#),
            "wrong_shape",
        ),
        (vector(&[("web", "1"), ("web", "2")]), "wrong_shape"),
        (Says::Nothing, "timed_out"),
    ] {
        running
            .batch("an answer", |batch| values(batch) == [0.5])
            .await;
        server.say(says);
        for target in ["web", "api"] {
            let silent = |batch: &MetricBatch| {
                batch.target == Some(app(target)) && batch.coverage == coverage(1, 0, 1)
            };
            let batch = running.batch("a failure", silent).await;
            assert!(batch.series.is_empty(), "{batch:?}");
        }
        let status = running.status(kind, |status| status.failing).await;
        assert_eq!(
            status.last_failure.as_ref().unwrap().kind,
            kind,
            "{status:?}"
        );
        assert_eq!((status.targets, status.series), (2, 2));
        server.say(vector(&[("web", "0.5"), ("api", "1")]));
        running.status("a recovery", |status| !status.failing).await;
    }
}

#[tokio::test]
async fn an_empty_answer_is_no_failure_and_closes_what_was_there() {
    let server = Server::start(vector(&[("web", "0.5")])).await;
    let running = start(&configured(&server), SIGNAL, &Groups::new());
    running
        .batch("an answer", |batch| values(batch) == [0.5])
        .await;
    server.say(vector(&[]));
    let batch = running
        .batch("the end", |batch| values(batch).is_empty())
        .await;
    assert_eq!(
        (closed(&batch).len(), batch.coverage),
        (1, coverage(1, 0, 0))
    );
    let batch = running.batch("the next round", |_| true).await;
    assert_eq!((batch.series.len(), batch.coverage), (0, coverage(1, 0, 0)));
}

#[tokio::test]
async fn a_coverage_query_is_asked_beside_and_says_who_fell_silent() {
    let server = Server::start(vector(&[("web", "1")])).await;
    let signal = SIGNAL.replace("source", "coverage = 'up'\nsource");
    let running = start(&configured(&server), &signal, &Groups::new());
    running
        .batch("an answer", |batch| {
            values(batch) == [1.0] && batch.coverage == coverage(1, 1, 0)
        })
        .await;
    // The server gives both queries the same answer: the source is not up, and the value is 0.
    server.say(vector(&[("web", "0")]));
    running
        .batch("a silent source", |batch| {
            values(batch) == [0.0] && batch.coverage == coverage(1, 0, 1)
        })
        .await;
}

#[tokio::test]
async fn warnings_are_passed_on() {
    let warned = r#"{"status":"success","warnings":["one store is down"],"data":{"resultType":"vector","result":[]}}"#;
    let server = Server::start(text(warned)).await;
    let running = start(&configured(&server), SIGNAL, &Groups::new());
    let status = running
        .status("a note", |status| !status.notes.is_empty())
        .await;
    assert_eq!(status.notes[0], "one store is down");
    // The server accepts any value of `lookback_delta`.
    assert!(
        status.notes[1].contains("--query.lookback-delta"),
        "{:?}",
        status.notes
    );
}

#[tokio::test]
async fn the_token_is_read_for_each_request_and_a_missing_one_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(get(async |headers: axum::http::HeaderMap| {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let value = token.strip_prefix("Bearer ").unwrap_or("0").to_owned();
        format!(r#"{{"status":"success","data":{{"resultType":"scalar","result":[1,"{value}"]}}}}"#)
    }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let config = PrometheusConfig {
        bearer_token_file: Some(file.clone()),
        ..PrometheusConfig::at(address(&url))
    };
    let prometheus = Prometheus::new(config).unwrap();
    assert_eq!(prometheus.query("q", 1).await.unwrap_err().kind(), "token");
    for token in ["17", "18"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        assert_eq!(
            prometheus.query("q", 1).await.unwrap()[0].samples[0]
                .value
                .to_string(),
            token
        );
    }
}

#[tokio::test]
async fn without_prometheus_a_query_is_unsupported_and_there_is_no_past() {
    let error = NoPrometheus.query("up", 0).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("unsupported: no Prometheus configured"),
        "{error}"
    );
    let signal = &read_signals(SIGNAL)[0];
    assert_eq!(
        NoPrometheus
            .backfill(signal, 0, 1, Duration::from_secs(1))
            .await,
        Ok(Vec::new())
    );
}

pub fn address(url: &str) -> HttpUrl {
    url.to_owned().try_into().unwrap()
}
