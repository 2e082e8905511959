//! Processes that stand still or starve.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anomalyzer_common::http_client;
use anomalyzer_testbed::shared;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::app::App;
use crate::cluster::{Cluster, kubeconfig};
use crate::program::{Program, serve};
use crate::scale::{SLACK, minutes, text};
use crate::service::{INTERVAL, base, guard};
use crate::wait::until;

/// A configured service that runs as a process, with a folder of its own.
struct Server {
    folder: TempDir,
    address: String,
    http: reqwest::Client,
}

impl Server {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The port is free now, and nothing else asks for it during the test.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        let listen = format!("[api]\nlisten = '{address}'");
        let base = base(folder.path()).replace("[api]\nlisten = '127.0.0.1:0'", &listen);
        std::fs::write(
            folder.path().join("anomalyzer.toml"),
            format!("{base}{}{more}", guard("auto")),
        )
        .unwrap();
        Self {
            folder,
            address,
            http: http_client::client(SLACK).unwrap(),
        }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("anomalyzer.toml")
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let url = format!("http://{}{path}", self.address);
        let asked = self.http.get(url).timeout(Duration::from_secs(30));
        asked.send().await.ok()?.json().await.ok()
    }

    /// Requests an action until the server accepts it. Returns the decision's id.
    async fn ask(&self, action: &str, target: &str) -> String {
        let url = format!("http://{}/action/{action}", self.address);
        until("the server accepts the action", 2 * SLACK, async || {
            let asked = self.http.post(&url).json(&json!({ "target": target }));
            let answer = asked.timeout(Duration::from_secs(30)).send().await.ok()?;
            let accepted = answer.status() == 202;
            let body: Value = answer.json().await.ok()?;
            accepted.then(|| body["decision"].as_str().unwrap().to_owned())
        })
        .await
    }

    async fn stands_by(&self) {
        until("the server stands by", 2 * SLACK, async || {
            let health = self.get("/health").await?;
            health.to_string().contains("stands by").then_some(())
        })
        .await;
    }

    /// Waits until the decision is over.
    async fn over(&self, id: &str) -> Value {
        let path = format!("/api/v1/decisions/{id}");
        until(
            "the decision is over",
            minutes(10) + 2 * SLACK,
            async || {
                let decision = self.get(&path).await?;
                ["done", "denied", "failed", "undone"]
                    .contains(&decision["state"].as_str()?)
                    .then_some(decision)
            },
        )
        .await
    }

    async fn incidents(&self) -> Option<usize> {
        let page = self.get("/api/v1/incidents").await?;
        Some(page["incidents"].as_array()?.len())
    }

    /// Waits until the detectors have seen `samples` of the signal `watched`.
    async fn seen(&self, samples: u64) {
        until(
            "the samples are seen",
            minutes(20) + 2 * SLACK,
            async || {
                let signals = self.get("/api/v1/signals").await?;
                let signals = signals["signals"].as_array()?;
                let seen = signals.first()?["detect"]["samples"].as_u64()?;
                (seen >= samples).then_some(())
            },
        )
        .await;
    }
}

fn kubernetes(folder: &TempDir, cluster: &Cluster) -> String {
    let path = kubeconfig(folder.path(), cluster.address);
    format!("[kubernetes]\nkubeconfig = '{}'\n", path.display())
}

/// Returns a signal of the Deployment `shop/web` that is scraped from `app`.
fn scraped(app: &App) -> String {
    format!(
        "[collect]\ninterval = {}\n[[collect.scrape]]\njob = 'app'\ntargets = {{ urls = ['http://{}/metrics'] }}\n\
         [[signal]]\nname = 'watched'\nmeaning = 'latency'\n\
         target = {{ namespace = 'shop', kind = 'Deployment', name = 'web' }}\n\
         source = {{ gauge = {{ of = 'latency_seconds' }} }}\n\
         detectors = [{{ name = 'zscore', settings = {{ spike = 8.0, drop = 1000.0, clear_samples = 2 }} }}]\n",
        text(INTERVAL),
        app.address
    )
}

async fn app() -> App {
    App::start(|| format!("latency_seconds {}\n", 0.1 + 0.01 * fastrand::f64())).await
}

const WEB: &str = "default/shop/Deployment/web";

pub async fn a_server_that_stands_still_in_an_operation_finishes_it_once_and_reports_no_silence() {
    let (cluster, app, folder) = (
        Cluster::start().await,
        app().await,
        tempfile::tempdir().unwrap(),
    );
    let more = format!("{}{}", kubernetes(&folder, &cluster), scraped(&app));
    let server = Server::new(&more);
    // A silence of a minute is a finding.
    let text_of = std::fs::read_to_string(server.config()).unwrap();
    let silent = format!("silent_after = {}", text(60));
    let strict = text_of.replace(&format!("silent_after = {}", text(600)), &silent);
    std::fs::write(server.config(), strict).unwrap();
    let process = Program::start(&mut serve(&server.config()));
    server.seen(30).await;
    cluster.stop_answering();
    let id = server.ask("scale-up", WEB).await;
    until("the operation is under way", SLACK, async || {
        (cluster.patches().len() == 1).then_some(())
    })
    .await;
    process.signal(Signal::STOP);
    tokio::time::sleep(minutes(1).max(Duration::from_secs(4))).await;
    cluster.answer_again();
    process.signal(Signal::CONT);
    let decision = server.over(&id).await;
    assert_eq!(decision["state"], "done", "{decision}");
    assert_eq!(cluster.patches().len(), 1);
    assert_eq!(server.incidents().await, Some(0));
}

pub async fn of_two_servers_the_other_one_finishes_the_operation_of_one_that_stands_still() {
    const NAME: &str = "of_two_servers_the_other_one_finishes";
    let Some(kafka) = shared::kafka(NAME) else {
        return;
    };
    let (cluster, folder) = (Cluster::start().await, tempfile::tempdir().unwrap());
    let unique = fastrand::u64(..);
    let topic = |name: &str| format!("{name} = 'pause-{unique}-{name}'");
    let more = format!(
        "{}[kafka]\nbrokers = '{}'\nsession_timeout = '6s'\ntopics = {{ {}, {}, {}, {} }}\n",
        kubernetes(&folder, &cluster),
        kafka.brokers,
        topic("metrics"),
        topic("incidents"),
        topic("solutions"),
        topic("decisions"),
    );
    let start = |server: &Server| {
        let mut command = serve(&server.config());
        Program::start(command.args(["--role", "server"]))
    };
    let (first, second) = (Server::new(&more), Server::new(&more));
    let process = start(&first);
    first.ask("alarm", WEB).await;
    let _other = start(&second);
    second.stands_by().await;
    cluster.stop_answering();
    let id = first.ask("scale-up", WEB).await;
    until("the operation is under way", SLACK, async || {
        (cluster.patches().len() == 1).then_some(())
    })
    .await;
    process.signal(Signal::STOP);
    // The broker waits for at least six seconds until it gives the work to the other server.
    tokio::time::sleep(minutes(1).max(Duration::from_secs(20))).await;
    cluster.answer_again();
    let decision = second.over(&id).await;
    process.signal(Signal::CONT);
    first.stands_by().await;
    assert_eq!(first.over(&id).await, decision);
    assert_eq!(decision["state"], "done", "{decision}");
    assert_eq!(
        decision["operations"][0]["outcome"]["kind"], "done",
        "{decision}"
    );
    assert_eq!(cluster.patches().len(), 1);
}

/// A process that uses all of the first core until it is dropped.
struct Hog(Child);

impl Hog {
    fn start() -> Self {
        let mut hog = Command::new("taskset");
        hog.args(["-c", "0", "sh", "-c", "while :; do :; done"]);
        Self(hog.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

pub async fn a_starved_service_invents_nothing_and_goes_on_when_it_can() {
    let (cluster, app, folder) = (
        Cluster::start().await,
        app().await,
        tempfile::tempdir().unwrap(),
    );
    let server = Server::new(&format!(
        "{}{}",
        kubernetes(&folder, &cluster),
        scraped(&app)
    ));
    let unpinned = serve(&server.config());
    let mut pinned = Command::new("nice");
    pinned.args(["-n", "10", "taskset", "-c", "0"]);
    pinned.arg(unpinned.get_program()).args(unpinned.get_args());
    for (name, _removed) in unpinned.get_envs() {
        pinned.env_remove(name);
    }
    let _process = Program::start(&mut pinned);
    server.seen(60).await;
    let hogs: Vec<Hog> = (0..3).map(|_| Hog::start()).collect();
    tokio::time::sleep(minutes(10)).await;
    assert!(
        server.get("/health").await.is_some(),
        "it answers all the same"
    );
    drop(hogs);
    let seen = server.get("/api/v1/signals").await.unwrap();
    let seen = seen["signals"][0]["detect"]["samples"].as_u64().unwrap();
    server.seen(seen + 10).await;
    assert_eq!(server.incidents().await, Some(0));
    assert_eq!(cluster.patches().len(), 0);
    let id = server.ask("scale-up", WEB).await;
    assert_eq!(server.over(&id).await["state"], "done");
    assert_eq!(cluster.patches().len(), 1);
}
