//! `anomalyzer demo`: an application that fails in four ways. The demo shows the reaction of the
//! host to each failure, and the controls for people. It runs embedded, or on the real services
//! that the environment names.

pub mod app;
mod environment;
pub mod load;
mod narrator;
mod operator_steps;
mod scenario;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use anomalyzer_history::HistoryReader;
use anomalyzer_service::Service;

use environment::Stage;
use narrator::Narrator;
use scenario::{RATE, Scenario, Traffic};

/// Arguments of `anomalyzer demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// End after the acts; the exit code is 0 only if all of them succeeded
    #[arg(long)]
    pub exit_when_done: bool,
    /// Run on the real Kafka, Prometheus, Ollama and Kubernetes that the environment names (`cargo
    /// xtask demo --real` starts them)
    #[arg(long)]
    pub real: bool,
    /// URL of the list of the application's replicas, in the format of Prometheus's HTTP service
    /// discovery
    #[arg(long, env = "DEMO_SD_URL")]
    pub sd_url: Option<String>,
    /// Let the language model decide; without it, the model is asked and recorded, and the rules
    /// decide
    #[arg(long, requires = "real")]
    pub model_decides: bool,
    /// Folder for the history, without the state of another run; by default a new temporary one
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
}

/// Runs the demo. Writes one JSON event per line if `json` is true, and lines for people otherwise.
/// Returns true if all played acts succeeded.
///
/// # Errors
/// Returns an error if the environment cannot be set up: a port, the plugins, or a real service
/// that does not answer.
pub async fn run(args: DemoArgs, json: bool, shutdown: CancellationToken) -> anyhow::Result<bool> {
    let narrator = Narrator::new(json);
    let data_dir = match &args.data_dir {
        Some(data_dir) => fresh(data_dir)?,
        // The folder is kept for `anomalyzer decisions`.
        None => tempfile::Builder::new()
            .prefix("anomalyzer-demo-")
            .tempdir()?
            .keep(),
    };
    let stopping = shutdown.child_token();
    let stage = Stage::set(&args, data_dir.clone())?;
    narrator.say("start", &stage.describe(), &json!({ "data_dir": data_dir }));
    // If Kubernetes runs the application and Prometheus holds its past, the traffic comes first.
    let mut traffic = None;
    if let Some(day) = stage.ordinary_day_before() {
        traffic = Some(Traffic::start(&stage, None, &stopping)?);
        let line = format!(
            "an ordinary day: {RATE} requests a second for {day:?}, which Prometheus keeps and we fill in"
        );
        narrator.say("progress", &line, &json!({}));
        tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            () = tokio::time::sleep(day) => {}
        }
    }
    let Some(running) = Service::builder(stage.config())
        .start(stopping.clone())
        .await?
    else {
        stage.strike().await;
        return Ok(false);
    };
    let traffic = match traffic {
        Some(traffic) => traffic,
        None => Traffic::start(&stage, Some(&running), &stopping)?,
    };
    let outcome = play(&args, &narrator, &stage, traffic, &running, &shutdown).await;
    stopping.cancel();
    running.ended().await;
    stage.strike().await;
    outcome
}

/// Returns the folder, unless an earlier run left its state there. With that state, the demo would
/// begin with that run's replicas and incidents.
fn fresh(data_dir: &Path) -> anyhow::Result<PathBuf> {
    for file in ["local.json", anomalyzer_history::FILE_NAME] {
        let file = data_dir.join(file);
        anyhow::ensure!(
            !file.exists(),
            "{} is of an earlier run, and the demo begins from nothing: remove it, or give another --data-dir",
            file.display()
        );
    }
    Ok(data_dir.to_owned())
}

async fn play(
    args: &DemoArgs,
    narrator: &Narrator,
    stage: &Stage,
    traffic: Traffic,
    running: &Service,
    shutdown: &CancellationToken,
) -> anyhow::Result<bool> {
    let Some(history) = running.history().cloned() else {
        anyhow::bail!("the server role keeps a history")
    };
    let follow = shutdown.child_token();
    let teller = tokio::spawn(narrator.clone().follow(
        running.bus(),
        history.clone(),
        follow.clone(),
    ));
    // The acts are read back through a separate reader, because only the content of the file
    // counts.
    let reader = HistoryReader::open(history.path()).await?;
    let replicas = traffic.replicas();
    let scenario = Scenario::new(narrator.clone(), stage, traffic, running, reader)?;
    let all = tokio::select! {
        () = shutdown.cancelled() => {
            narrator.say("stopped", "stopped", &json!({}));
            Ok(false)
        }
        all = scenario.play(stage.acts()) => all,
    };
    if let Ok(all) = all {
        if !args.exit_when_done && !shutdown.is_cancelled() {
            let present = replicas.borrow().clone();
            for line in stage.lines_to_try(running.address(), &present)? {
                narrator.say("try", &line, &json!({}));
            }
            shutdown.cancelled().await;
            narrator.say("stopped", "stopping", &json!({}));
        }
        follow.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(2), teller).await;
        return Ok(all);
    }
    follow.cancel();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_the_state_of_an_earlier_run_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(fresh(folder.path()).unwrap(), folder.path());
        std::fs::write(folder.path().join("local.json"), "{}").unwrap();
        let error = fresh(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("local.json is of an earlier run") && error.contains("--data-dir"),
            "{error}"
        );
    }
}
