//! Runs the demo from its start to the last scene.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::args::DemoArgs;
use super::environment::Environment;
use super::narrator::Narrator;
use super::scenario::Scenario;
use super::scene_context::SceneContext;
use super::traffic::{RATE, Traffic};
use anomalyzer_history::HistoryReader;
use anomalyzer_service::Service;

/// Runs the demo. Writes one JSON event per line if `json` is true, and lines for people otherwise.
/// Returns true if all played scenes succeeded.
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
    let environment = Environment::set_up(&args, data_dir.clone())?;
    narrator.say(
        "start",
        &environment.describe(),
        &json!({ "data_dir": data_dir }),
    );
    // If Kubernetes runs the application and Prometheus holds its past, the traffic comes first.
    let mut traffic = None;
    if let Some(day) = environment.ordinary_day_before() {
        traffic = Some(Traffic::start(&environment, None, &stopping)?);
        let line = format!(
            "an ordinary day: {RATE} requests a second for {day:?}, which Prometheus keeps and we fill in"
        );
        narrator.say("progress", &line, &json!({}));
        tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            () = tokio::time::sleep(day) => {}
        }
    }
    let Some(running) = Service::builder(environment.config())
        .start(stopping.clone())
        .await?
    else {
        environment.clean_up().await;
        return Ok(false);
    };
    let traffic = match traffic {
        Some(traffic) => traffic,
        None => Traffic::start(&environment, Some(&running), &stopping)?,
    };
    let outcome = play(&args, &narrator, &environment, traffic, &running, &shutdown).await;
    stopping.cancel();
    running.ended().await;
    environment.clean_up().await;
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
    environment: &Environment,
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
    // The scenes are read back through a separate reader, because only the content of the file
    // counts.
    let reader = HistoryReader::open(history.path()).await?;
    let replicas = traffic.replicas.clone();
    let context = SceneContext::new(narrator.clone(), environment, running, reader)?;
    let scenario = Scenario::new(context, traffic);
    let all = tokio::select! {
        () = shutdown.cancelled() => {
            narrator.say("stopped", "stopped", &json!({}));
            Ok(false)
        }
        all = scenario.play(environment.scenes()) => all,
    };
    if let Ok(all) = all {
        if !args.exit_when_done && !shutdown.is_cancelled() {
            let present = replicas.borrow().clone();
            for line in environment.lines_to_try(running.address(), &present)? {
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
