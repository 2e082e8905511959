//! Kafka, the API server of Kubernetes and Ollama are away for 1, 10 and 40 minutes, in every
//! order.
//! In the suite, and without a testbed, the topics are inside the process, and the two others are
//! away.

use std::time::Duration;

use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::testing::web;
use anomalyzer_domain::{AnalystKind, Decision, OutcomeKind};
use anomalyzer_testbed::{Kafka, shared};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use crate::cluster::{Cluster, kubeconfig};
use crate::proxy::Proxy;
use crate::receiver::Receiver;
use crate::scale::{Progress, SLACK, minutes, scale, seconds, text};
use crate::service::{Feed, Running, channel, guard, no_scrape, sent_signal};
use crate::wait::until;

/// Minutes for which the servers are away.
const AWAY: [u64; 3] = [1, 10, 40];
/// The orders: indexes of [`AWAY`] for Kafka, the API server and Ollama.
const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// Starts an Ollama that always proposes to scale up.
async fn ollama() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tags = Json(json!({ "models": [{ "name": "small", "digest": "d1" }] }));
    let content = r#"{"solution":"scale_up","explanation":"it is busy","confidence":0.9,"evidence":["e1"],"alternative":"alarm"}"#;
    let answer = Json(json!({
        "message": { "role": "assistant", "content": content }, "done": true, "done_reason": "stop"
    }));
    let router = Router::new()
        .route("/api/tags", get(move || async move { tags }))
        .route("/api/chat", post(move || async move { answer }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Proxy::start(address).await
}

/// A service, the servers that it needs, and the people that it tells.
struct Scene {
    running: Running,
    cluster: Cluster,
    api: Proxy,
    ollama: Proxy,
    people: Receiver,
    feed: Feed,
}

impl Scene {
    async fn start(kafka: Option<&Kafka>) -> Self {
        let (cluster, ollama) = (Cluster::start().await, ollama().await);
        let (api, people) = (
            Proxy::start(cluster.address).await,
            Receiver::start([]).await,
        );
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = kubeconfig(folder.path(), api.address);
        let more = format!(
            "{}{}{}[kubernetes]\nkubeconfig = '{}'\nrequest_timeout = '1s'\n\
             [ollama]\nurl = 'http://{}'\nmodel = 'small'\ntimeout = '1500ms'\nbreaker_pause = {}\n{}{}{}",
            guard("auto"),
            no_scrape(),
            channel("people", &people),
            kubeconfig.display(),
            ollama.address,
            text(60),
            kafka.map(topics).unwrap_or_default(),
            sent_signal("latency"),
            sent_signal("traffic"),
        );
        let running = Running::start(folder, &more).await;
        let values = [("latency", 0.1), ("traffic", 40.0)];
        let feed = Feed::start(running.service.bus(), web(), values).await;
        running.seen(60).await;
        Self {
            running,
            cluster,
            api,
            ollama,
            people,
            feed,
        }
    }

    fn show(&self, times: f64) {
        self.feed.set("latency", 0.1 * times);
        self.feed.set("traffic", 40.0 * times);
    }

    /// Takes the servers away, lets a surge come meanwhile, and brings each server back at its
    /// time.
    async fn endure(&self, api: Duration, ollama: Duration) {
        self.api.set_up(false);
        self.ollama.set_up(false);
        self.show(6.0);
        tokio::join!(
            async {
                tokio::time::sleep(api).await;
                let patches = self.cluster.patches();
                assert!(patches.is_empty(), "{patches:?}");
                self.api.set_up(true);
            },
            async {
                tokio::time::sleep(ollama).await;
                self.ollama.set_up(true);
            }
        );
    }

    /// Waits until all is well, and asserts that the next surge is handled as if nothing had been.
    async fn recovers(&self) {
        until("people are told of the first surge", SLACK, async || {
            (!self.people.received().is_empty()).then_some(())
        })
        .await;
        self.show(1.0);
        let mut problems = vec![];
        let limit = tokio::time::timeout(minutes(20) + 2 * SLACK, async {
            loop {
                problems = self.running.service.problems();
                // There is nothing to scrape.
                problems.retain(|problem| !problem.starts_with("collect"));
                if problems.is_empty() && self.running.service.open_incidents() == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let well = limit.await;
        assert!(well.is_ok(), "{problems:#?}");
        // The cooldown of the first surge passes.
        tokio::time::sleep(minutes(6)).await;
        let again = now_ms();
        self.show(6.0);
        let handled = |decision: &Decision| {
            let done = |kind| kind == OutcomeKind::Done;
            decision.decided_at >= again
                && decision.analyst.kind == AnalystKind::Ollama
                && decision.operations.iter().any(|operation| {
                    let outcome = operation.outcome.as_ref().map(|outcome| outcome.kind);
                    operation.kind == "scale" && outcome.is_some_and(done)
                })
        };
        self.running
            .decision("the model's solution is carried out", handled)
            .await;
        assert!(!self.cluster.patches().is_empty());
    }
}

/// Returns the configuration of topics that only one service uses.
fn topics(kafka: &Kafka) -> String {
    let unique = fastrand::u64(..);
    let topic = |name: &str| format!("{name} = 'trouble-{unique}-{name}'");
    format!(
        "[kafka]\nbrokers = '{}'\nsession_timeout = '6s'\ntopics = {{ {}, {}, {}, {} }}\n",
        kafka.brokers(),
        topic("metrics"),
        topic("incidents"),
        topic("solutions"),
        topic("decisions"),
    )
}

#[tokio::test]
async fn servers_that_are_away_for_a_while_in_any_order_need_no_help_when_they_are_back() {
    const NAME: &str = "servers_that_are_away_for_a_while_in_any_order";
    let _progress = Progress::of("absences");
    // Three brokers that start at once would starve the other tests of the suite. There the topics
    // are inside the process.
    let mut brokers: Vec<Kafka> = vec![];
    if scale() == 1 {
        brokers.extend(shared::own_kafka(NAME).await);
    }
    if !brokers.is_empty() {
        let (second, third) = tokio::join!(Kafka::start(), Kafka::start());
        brokers.extend([second.unwrap(), third.unwrap()]);
    }
    let scenes = ORDERS.map(async |[kafka, api, ollama]| {
        let scene = Scene::start(brokers.get(kafka)).await;
        (scene, minutes(AWAY[api]), minutes(AWAY[ollama]))
    });
    let scenes = futures::future::join_all(scenes).await;
    let endured = scenes
        .iter()
        .map(|(scene, api, ollama)| scene.endure(*api, *ollama));
    let restarted = brokers.iter_mut().zip(AWAY).map(async |(broker, away)| {
        broker.kill();
        tokio::time::sleep(minutes(away)).await;
        broker.restart().await.unwrap();
    });
    tokio::join!(
        futures::future::join_all(endured),
        futures::future::join_all(restarted)
    );
    tokio::time::sleep(seconds(60)).await;
    futures::future::join_all(scenes.iter().map(|(scene, ..)| scene.recovers())).await;
}
