//! Compares the reader of expositions with a real Prometheus 3 that scrapes the same bodies.

use std::collections::BTreeMap;
use std::path::Path;

use anomalyzer_collect::exposition::{self, Exposed, Format};
use anomalyzer_common::clock::now_ms;
use anomalyzer_testbed::{Prometheus, PrometheusOptions, shared};
use axum::extract::{Path as UrlPath, State};
use serde_json::{Value, json};

use super::*;

const TEXT: &str = "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label that tells the bodies apart.
const BODY: &str = "body_of_the_test";

/// Metrics that Prometheus adds to each scrape.
const ADDED: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// Range of explicit timestamps that are compared. Prometheus drops older and later samples.
const COMPARED_MS: i64 = 120_000;

#[derive(Clone, Debug)]
struct Body {
    name: String,
    content_type: &'static str,
    text: Vec<u8>,
}

/// Value and, if the body gives one, time of each series.
type Values = BTreeMap<BTreeMap<String, String>, (f64, Option<i64>)>;

/// Serves the bodies, and the list of their addresses for Prometheus.
async fn serve(bodies: Vec<Body>) -> (String, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let groups = (0..bodies.len()).map(|index| {
        json!({
            "targets": [address.to_string()],
            "labels": { "__metrics_path__": format!("/{index}"), BODY: index.to_string() },
        })
    });
    let list = Value::from_iter(groups).to_string();
    let body = async |State(bodies): State<Arc<Vec<Body>>>, UrlPath(index): UrlPath<usize>| {
        let body = &bodies[index];
        (
            [(header::CONTENT_TYPE, body.content_type)],
            body.text.clone(),
        )
            .into_response()
    };
    let router = Router::new()
        .route(
            "/sd",
            get(async move || ([(header::CONTENT_TYPE, "application/json")], list.clone())),
        )
        .route("/{index}", get(body))
        .with_state(Arc::new(bodies));
    let shutdown = CancellationToken::new();
    let ends = shutdown.clone().drop_guard();
    tokio::spawn(async move {
        tokio::select! {
            served = axum::serve(listener, router) => served.unwrap(),
            () = shutdown.cancelled() => {}
        }
    });
    (format!("http://{address}/sd"), ends)
}

/// Returns what Prometheus read of each body: the error of its scrape, or the values.
async fn scraped(prometheus: &Prometheus, count: usize) -> Vec<Result<Values, String>> {
    let client = anomalyzer_common::http_client::client(Duration::from_secs(20)).unwrap();
    let fetch = async |path: String| -> Value {
        let url = format!("{}/api/v1/{path}", prometheus.url());
        let answer = client.get(url).send().await.unwrap();
        answer.json().await.unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    let expected = Some(count.to_string());
    let health = loop {
        let answer = fetch("targets?state=active".to_owned()).await;
        let targets = answer["data"]["activeTargets"].as_array().unwrap();
        let asked = targets
            .iter()
            .filter(|target| target["health"] != "unknown");
        let health: BTreeMap<usize, Option<String>> = asked
            .map(|target| {
                let index = target["labels"][BODY].as_str().unwrap().parse().unwrap();
                let error = target["lastError"].as_str().unwrap().to_owned();
                (index, (target["health"] != "up").then_some(error))
            })
            .collect();
        // The health of a target is known shortly before its samples can be queried.
        let stored = fetch("query?query=count(up)".to_owned()).await;
        let stored = stored["data"]["result"][0]["value"][1].as_str();
        if health.len() == count && stored == expected.as_deref() {
            break health;
        }
        assert!(
            Instant::now() < deadline,
            "{} of {count} bodies were scraped",
            health.len()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let mut all = Vec::new();
    for (index, error) in health {
        all.push(match error {
            Some(error) => Err(error),
            // The range returns the samples with their own times.
            None => Ok(values(
                &fetch(format!("query?query={{{BODY}%3D%22{index}%22}}[5m]")).await,
            )),
        });
    }
    all
}

fn values(answer: &Value) -> Values {
    let series = answer["data"]["result"].as_array().unwrap().iter();
    let named = series.filter_map(|series| {
        let mut labels: BTreeMap<String, String> =
            serde_json::from_value(series["metric"].clone()).unwrap();
        if ADDED.contains(&labels["__name__"].as_str()) {
            return None;
        }
        for own in ["job", "instance", BODY] {
            labels.remove(own);
        }
        let last = series["values"].as_array().unwrap().last().unwrap();
        let value = last[1].as_str().unwrap().parse().unwrap();
        let at = (last[0].as_f64().unwrap() * 1000.0).round() as i64;
        Some((labels, (value, Some(at))))
    });
    named.collect()
}

/// Returns the values that our reader found, as Prometheus stores them.
fn stored(samples: Vec<Exposed>) -> Values {
    let mut values = Values::new();
    for Exposed {
        name,
        labels,
        value,
        at,
    } in samples
    {
        let own = labels.into_iter().filter(|(_, value)| !value.is_empty());
        let labels = own
            .map(|(name, value)| match name.as_str() {
                "job" | "instance" => (format!("exported_{name}"), value),
                _ => (name, value),
            })
            .chain([("__name__".to_owned(), name)])
            .collect();
        // The first sample of a series counts, or the one with the latest time.
        let known: &mut (f64, Option<i64>) = values.entry(labels).or_insert((value, at));
        if at > known.1 {
            *known = (value, at);
        }
    }
    values
}

/// Asserts that both read the same values.
fn compare(body: &Body, ours: &Values, theirs: &Values, now: i64) {
    let is_compared = |labels: &BTreeMap<String, String>| {
        let at = ours.get(labels).and_then(|(_, at)| *at);
        at.is_none_or(|at| (at - now).abs() < COMPARED_MS)
    };
    let shown = String::from_utf8_lossy(&body.text);
    for (labels, (value, at)) in ours.iter().filter(|(labels, _)| is_compared(labels)) {
        let Some((other, other_at)) = theirs.get(labels) else {
            panic!("{}: only we read {labels:?} in:\n{shown}", body.name);
        };
        let is_equal = value.to_bits() == other.to_bits() || (value.is_nan() && other.is_nan());
        assert!(
            is_equal,
            "{}: {labels:?} is {value}, not {other}, in:\n{shown}",
            body.name
        );
        if at.is_some() {
            assert_eq!(at, other_at, "{}: {labels:?}", body.name);
        }
    }
    let more = theirs.keys().find(|labels| !ours.contains_key(*labels));
    assert_eq!(
        more, None,
        "{}: only Prometheus read it in:\n{shown}",
        body.name
    );
}

async fn start_prometheus(test: &str, discovery: String) -> Option<Prometheus> {
    let options = PrometheusOptions {
        interval: Duration::from_secs(2),
        discoveries: vec![discovery],
        ..PrometheusOptions::default()
    };
    shared::own_prometheus3(test, &options).await
}

/// Returns the bodies in `tests/data/expositions`, with current times.
fn recorded(now: i64) -> Vec<Body> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/expositions");
    let mut bodies: Vec<Body> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text
                .replace("{now_ms}", &now.to_string())
                .replace("{now_s}", &(now / 1000).to_string());
            let content_type = if name.contains(".om.") {
                OPEN_METRICS
            } else {
                TEXT
            };
            Body {
                name,
                content_type,
                text: text.into_bytes(),
            }
        })
        .collect();
    bodies.sort_by(|a, b| a.name.cmp(&b.name));
    bodies
}

#[tokio::test]
async fn bodies_in_the_forms_of_known_exporters_have_the_values_that_prometheus_reads() {
    let now = now_ms() / 1000 * 1000;
    let bodies = recorded(now);
    assert!(bodies.len() > 10);
    let (discovery, _ends) = serve(bodies.clone()).await;
    let test = "expositions of known exporters have the values that Prometheus 3 reads";
    let Some(prometheus) = start_prometheus(test, discovery).await else {
        return;
    };
    let all = scraped(&prometheus, bodies.len()).await;
    for (body, theirs) in bodies.iter().zip(all) {
        let theirs = theirs.unwrap_or_else(|error| panic!("{}: {error}", body.name));
        let found = exposition::parse(&body.text, Format::of(body.content_type), |_| true).unwrap();
        assert_eq!(
            (found.unusable, found.first_unusable),
            (0, None),
            "{}",
            body.name
        );
        let ours = stored(found.samples);
        assert!(!ours.is_empty(), "{}", body.name);
        compare(body, &ours, &theirs, now);
    }
    prometheus.stop().await;
}

/// Changes a body at a few places.
fn damage(text: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    const PIECES: [&str; 30] = [
        "{", "}", "\"", "\\", ",", "=", " ", "\t", "\n", "\r", "#", "# ", "# TYPE ", "0", "e", ".",
        "-", "+", "_", "x", "p", "NaN", "Inf", "{}", "\"\"", "a=\"b\"", "\\n", "\\\"", "ä",
        "1e400",
    ];
    let mut text = text.to_vec();
    for _ in 0..random.usize(1..3) {
        if text.is_empty() {
            break;
        }
        let at = random.usize(0..text.len());
        match random.u8(0..4) {
            0 => {
                text.remove(at);
            }
            1 => text[at] = PIECES[random.usize(0..20)].as_bytes()[0],
            _ => {
                let piece = PIECES[random.usize(0..PIECES.len())];
                text.splice(at..at, piece.bytes());
            }
        }
    }
    text
}

/// Returns true if Prometheus is known to read the body otherwise, and why that is right.
fn is_exception(body: &Body) -> bool {
    let lines = || body.text.split(|byte| *byte == b'\n');
    // Prometheus 3 counts blanks before a name as a part of the name. The format ignores them.
    let blank_first = lines().any(|line| line.starts_with(b" ") || line.starts_with(b"\t"));
    // Prometheus 3.8 takes a name in braces without quotes for a name in quotes, and cuts its ends.
    let brace_first = lines().any(|line| line.starts_with(b"{") && !line.starts_with(b"{\""));
    blank_first || brace_first
}

#[tokio::test]
async fn damaged_and_generated_bodies_that_prometheus_reads_have_its_values_and_others_are_noticed()
{
    const COUNT: usize = 400;
    let now = now_ms() / 1000 * 1000;
    let seed = now_ms() as u64;
    let mut random = fastrand::Rng::with_seed(seed);
    let recorded: Vec<Body> = recorded(now);
    let mut bodies = Vec::new();
    while bodies.len() < COUNT {
        let whole = &recorded[random.usize(0..recorded.len())];
        // Short bodies: one broken line makes Prometheus refuse the body.
        let lines: Vec<&[u8]> = whole.text.split_inclusive(|byte| *byte == b'\n').collect();
        let start = random.usize(0..lines.len());
        let end = lines.len().min(start + random.usize(1..6));
        let text = damage(&lines[start..end].concat(), &mut random);
        let mut body = Body {
            name: format!("body {} of seed {seed}, from {}", bodies.len(), whole.name),
            text,
            ..whole.clone()
        };
        if body.content_type == OPEN_METRICS && !body.text.ends_with(b"# EOF") {
            body.text.extend_from_slice(b"\n# EOF");
            let doubled = body.text.windows(2).any(|pair| pair == b"\n\n");
            if doubled {
                body.text = String::from_utf8_lossy(&body.text)
                    .replace("\n\n", "\n")
                    .into_bytes();
            }
        }
        if !is_exception(&body) {
            bodies.push(body);
        }
    }
    let (discovery, _ends) = serve(bodies.clone()).await;
    let test = "damaged expositions have the values that Prometheus 3 reads";
    let Some(prometheus) = start_prometheus(test, discovery).await else {
        return;
    };
    let all = scraped(&prometheus, bodies.len()).await;
    let mut read = 0;
    for (body, theirs) in bodies.iter().zip(all) {
        let ours = exposition::parse(&body.text, Format::of(body.content_type), |_| true);
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => {
                let shown = String::from_utf8_lossy(&body.text);
                assert_eq!(ours.first_unusable, None, "{}: {shown}", body.name);
                compare(body, &stored(ours.samples), &theirs, now);
                read += 1;
            }
            (Ok(_), Err(error)) => panic!("{}: {error} in\n{:?}", body.name, body.text),
            // Prometheus refuses the whole body. We may read its other lines.
            (Err(_), _) => {}
        }
    }
    assert!(read > COUNT / 10, "Prometheus read only {read} bodies");
    prometheus.stop().await;
}
