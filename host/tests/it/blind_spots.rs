//! Tests of the reports about blind spots.

use std::time::Duration;

use anomalyzer_common::http_client;
use anomalyzer_service::config;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::receiver::Receiver;
use crate::serve::start;
use crate::wait::until;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_source_that_never_answers_usefully_is_in_health_metrics_api_and_one_notice() {
    let folder = tempfile::tempdir().unwrap();
    // It answers every request with status 200 and an empty body.
    let prometheus = Receiver::start([]).await;
    let people = Receiver::start([]).await;
    let text = format!(
        "data_dir = '{}'\nsilent_after = '200ms'\n[api]\nlisten = '127.0.0.1:0'\n[plugins]\nfolder = '{}'\n\
         [collect]\ninterval = '50ms'\n[collect.prometheus]\nurl = '{}'\n\
         [[signal]]\nname = 'traffic'\nsource = {{ query = 'up' }}\ntarget = {{ kind = 'Pod', name = '{{{{pod}}}}' }}\n\
         [notify.channels.hook]\ntype = 'webhook'\ndefault = true\nurl = '{}'\n",
        folder.path().display(),
        concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins"),
        prometheus.url(""),
        people.url("/hook"),
    );
    let config = config::parse("test.toml".as_ref(), &text).unwrap();
    let shutdown = CancellationToken::new();
    let running = start(config, &shutdown).await;
    let client = http_client::client(MINUTE).unwrap();
    let base = format!("http://{}", running.address());
    let get = async |path: &str| {
        let answer = client.get(format!("{base}{path}")).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let told = || {
        let received = people.received();
        let titles = received.iter().map(|told| told.json()["title"].clone());
        titles
            .filter(|title| title == "blind spot: unusable_answer of traffic")
            .count()
    };
    until("people are told", MINUTE, async || {
        (told() > 0).then_some(())
    })
    .await;
    until("the health shows it", MINUTE, async || {
        let health: Value = serde_json::from_str(&get("/health").await).unwrap();
        let part = &health["parts"]["blind spots"];
        let detail = part["detail"].as_str().unwrap_or_default();
        (part["status"] == "degraded" && detail.contains("unusable_answer of traffic"))
            .then_some(())
    })
    .await;
    let metrics = get("/metrics").await;
    assert!(
        metrics.contains("anomalyzer_blind_spots{kind=\"unusable_answer\"} 1"),
        "{metrics}"
    );
    let signals: Value = serde_json::from_str(&get("/api/v1/signals").await).unwrap();
    let spot = &signals["blind_spots"][0];
    assert_eq!(spot["kind"], "unusable_answer");
    assert_eq!(spot["subject"], "traffic");
    assert!(
        spot["remedy"]
            .as_str()
            .is_some_and(|remedy| !remedy.is_empty())
    );
    assert_eq!(told(), 1);
    shutdown.cancel();
    running.ended().await;
}
