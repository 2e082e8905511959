//! Measures the time from an upload until the plugin is live at a running `serve`, and the time to
//! replace one version of a detector by another.

use std::time::{Duration, Instant};

use anomalyzer_domain::Origin;
use anomalyzer_plugin_host::{PluginConfig, Plugins};
use anomalyzer_service::{Service, config};
use anyhow::Context;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{built, median, timed};

const TRIALS: usize = 9;

/// Returns the same component with an additional custom section. The bytes differ, so that no cache
/// contains them.
fn another(component: &[u8], trial: u64) -> Vec<u8> {
    // Section 0: its size, the length of its name, its name, its content (WebAssembly core
    // specification, 5.5.3).
    let mut bytes = component.to_vec();
    bytes.extend([0, 14, 5]);
    bytes.extend(b"trial");
    bytes.extend(trial.to_le_bytes());
    bytes
}

pub async fn measure() -> anyhow::Result<()> {
    let component = std::fs::read(built("plugins/zscore.wasm"))?;
    let folder = tempfile::tempdir()?;
    let text = format!(
        "data_dir = '{0}/data'\n[api]\nlisten = '127.0.0.1:0'\n[plugins]\nfolder = '{0}/plugins'\ncache = '{0}/compiled'\n",
        folder.path().display()
    );
    std::fs::create_dir(folder.path().join("plugins"))?;
    let config = config::parse("bench.toml".as_ref(), &text)?;
    let shutdown = CancellationToken::new();
    let running = Service::builder(config)
        .start(shutdown.clone())
        .await?
        .context("told to stop")?;
    let url = format!("http://{}/api/v1/plugins", running.address());
    let client = anomalyzer_common::http_client::client(Duration::from_secs(60))?;
    let mut uploads = Vec::new();
    for trial in 0..TRIALS as u64 {
        let bytes = another(&component, trial);
        let begun = Instant::now();
        let answer = client
            .post(&url)
            .header("content-type", "application/wasm")
            .body(bytes)
            .send()
            .await?;
        let status = answer.status();
        let view: Value = answer.json().await?;
        anyhow::ensure!(status.is_success(), "{status}: {view}");
        let digest = view["digest"]
            .as_str()
            .context("no digest was answered")?
            .to_owned();
        loop {
            let view: Value = client
                .get(format!("{url}/zscore"))
                .send()
                .await?
                .json()
                .await?;
            if view["digest"] == digest {
                break;
            }
            anyhow::ensure!(
                begun.elapsed() < Duration::from_secs(60),
                "it is not live: {view}"
            );
        }
        uploads.push(begun.elapsed());
    }
    shutdown.cancel();
    running.ended().await;

    let swaps = tokio::task::spawn_blocking(move || swaps(&component)).await??;
    println!(
        "\nzscore over REST: live {:.0?} after the upload begins (median of {TRIALS}; examined, compiled, stored, on record)\n\
         a version that is compiled already: examined and live in {:.1?}",
        median(uploads),
        median(swaps)
    );
    Ok(())
}

/// Measures the time to replace one version by another, when both are compiled already.
fn swaps(component: &[u8]) -> anyhow::Result<Vec<Duration>> {
    let folder = tempfile::tempdir()?;
    let config = PluginConfig {
        folder: folder.path().join("plugins"),
        cache: Some(folder.path().join("compiled")),
        ..PluginConfig::default()
    };
    std::fs::create_dir(&config.folder)?;
    let plugins = Plugins::load(config)?;
    let versions = [another(component, 0), another(component, 1)];
    let mut took = Vec::new();
    for trial in 0..2 * TRIALS {
        let bytes = versions[trial % 2].clone();
        let origin = Origin::Upload {
            by: "bench".to_owned(),
            address: "bench".to_owned(),
        };
        let (swap, view) = timed(|| plugins.install(plugins.examine(bytes, None)?, &origin, true));
        view?;
        if trial >= 2 {
            took.push(swap);
        }
    }
    Ok(took)
}
