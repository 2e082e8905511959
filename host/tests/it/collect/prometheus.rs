//! Tests of queries to servers that answer like Prometheus, and to servers that do not.

use anomalyzer_collect::{HttpUrl, MetricSource, NoPrometheus, Prometheus, PrometheusConfig};
use anomalyzer_domain::Target;
use axum::http::{Method, Uri};

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
async fn annotations_are_passed_on() {
    let warned = r#"{"status":"success","warnings":["PromQL warning: x"],"infos":["PromQL info: y"],"data":{"resultType":"vector","result":null}}"#;
    let server = Server::start(text(warned)).await;
    let running = start(&configured(&server), SIGNAL, &Groups::new());
    let status = running
        .status("a note", |status| !status.notes.is_empty())
        .await;
    assert_eq!(status.notes[..2], ["PromQL warning: x", "PromQL info: y"]);
    // The server accepts any value of `lookback_delta`.
    assert!(
        status.notes[2].contains("--query.lookback-delta"),
        "{:?}",
        status.notes
    );
    assert!(!status.failing);
}

#[tokio::test]
async fn an_answer_that_lacks_a_part_has_a_failed_source_and_closes_nothing() {
    let partial = |extra: &str, series: &str| {
        Says::Text(format!(
            r#"{{"status":"success",{extra},"data":{{"resultType":"vector","result":[{series}]}}}}"#
        ))
    };
    let web = r#"{"metric":{"namespace":"shop","app":"web"},"value":[1,"0.25"]}"#;
    let null = r#"{"metric":{"namespace":"shop","app":"api"},"value":[1,null]}"#;
    let server = Server::start(vector(&[("web", "0.5"), ("api", "1")])).await;
    let running = start(&configured(&server), SIGNAL, &Groups::new());
    for says in [
        partial(r#""warnings":["a store is away"]"#, web),
        partial(r#""isPartial":true"#, web),
        partial(r#""warnings":null"#, &format!("{web},{null}")),
    ] {
        running
            .batch("an answer", |batch| values(batch) == [0.5])
            .await;
        server.say(says);
        let batch = running
            .batch("a partial answer", |batch| values(batch) == [0.25])
            .await;
        assert_eq!(batch.coverage, coverage(2, 1, 1));
        let batch = running
            .batch("a target without a value", |batch| {
                batch.target == Some(app("api")) && batch.coverage.failed > 0
            })
            .await;
        assert_eq!((batch.series.len(), batch.coverage), (0, coverage(2, 0, 1)));
        let status = running.status("a failure", |status| status.failing).await;
        assert_eq!(status.last_failure.unwrap().kind, "partial");
        let spots = || running.blind_spots.all();
        let deadline = Instant::now() + Duration::from_secs(20);
        while spots()
            .iter()
            .all(|spot| spot.kind.id() != "partial_answer")
        {
            assert!(Instant::now() < deadline, "{:?}", spots());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.say(vector(&[("web", "0.5"), ("api", "1")]));
        running.status("a recovery", |status| !status.failing).await;
    }
}

/// Starts a server that answers with the length of the query as the value, and notes each request:
/// the method, the address and the body. It refuses a POST with the given status.
async fn noting(post: Option<u16>) -> (String, Arc<Mutex<Vec<[String; 3]>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let noted = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&noted);
    let answer = async move |method: Method, uri: Uri, body: String| {
        notes
            .lock()
            .push([method.to_string(), uri.to_string(), body.clone()]);
        let refused = post.filter(|_| method == Method::POST);
        if let Some(status) = refused {
            return StatusCode::from_u16(status).unwrap().into_response();
        }
        let form = format!("http://x/?{body}&{}", uri.query().unwrap_or_default());
        let form: reqwest::Url = form.parse().unwrap();
        let query = form.query_pairs().find(|(name, _)| name == "query");
        let length = query.map_or(0, |(_, query)| query.len());
        format!(
            r#"{{"status":"success","data":{{"resultType":"scalar","result":[1,"{length}"]}}}}"#
        )
        .into_response()
    };
    let router = Router::new().fallback(axum::routing::any(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, noted)
}

#[tokio::test]
async fn a_long_query_is_sent_as_a_form_and_the_parameters_of_the_address_stay() {
    for (post, methods) in [
        (None, &["GET", "POST"][..]),
        (Some(405), &["GET", "POST", "GET"]),
        (Some(501), &["GET", "POST", "GET"]),
    ] {
        let (url, noted) = noting(post).await;
        let base = format!("{url}/select/0/prometheus/?dedup=false&deny_partial_response=1");
        let prometheus = Prometheus::new(PrometheusConfig::at(address(&base))).unwrap();
        for length in [10, 5_000] {
            let query = "ü&+ ".repeat(length / 5);
            let series = prometheus.query(&query, 7_000).await.unwrap();
            assert_eq!(series[0].samples[0].value, query.len() as f64);
        }
        let noted = noted.lock().clone();
        let seen: Vec<_> = noted.iter().map(|[method, ..]| method.as_str()).collect();
        assert_eq!(seen, methods);
        for [method, address, body] in &noted {
            let path = "/select/0/prometheus/api/v1/query?dedup=false&deny_partial_response=1";
            assert!(address.starts_with(path), "{address}");
            let parameters = if method == "POST" { body } else { address };
            assert!(parameters.contains("time=7.000"), "{parameters}");
        }
    }
}

#[tokio::test]
async fn only_the_server_decides_on_a_long_query_that_it_refuses() {
    let (url, noted) = noting(Some(403)).await;
    let prometheus = Prometheus::new(PrometheusConfig::at(address(&url))).unwrap();
    let error = prometheus.query(&"x".repeat(5_000), 1).await.unwrap_err();
    assert_eq!((error.kind(), noted.lock().len()), ("status", 1));
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
