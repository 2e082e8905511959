//! Measures a start of the shipped program: the time until it answers, and its memory when idle.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

const STARTS: usize = 5;
/// Idle time before the memory is measured.
const IDLE: Duration = Duration::from_secs(10);

/// Running program, killed on drop.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub async fn measure() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (_, cold) = start(folder.path()).await?;
    let mut warm = Vec::new();
    for _ in 1..STARTS {
        warm.push(start(folder.path()).await?.1);
    }
    let (last, took) = start(folder.path()).await?;
    warm.push(took);
    warm.sort_unstable();
    tokio::time::sleep(IDLE).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", last.0.id()))?;
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
    });
    println!(
        "\n`serve` with the eight actions and zscore: ready after {cold:.2?} with an empty cache, then after {:.2?} in the median \
         of {STARTS} starts (aim 1 s); {} MiB resident when idle (aim 150)",
        warm[STARTS / 2],
        kib.context("the memory of the process is not known")? / 1024
    );
    Ok(())
}

async fn start(folder: &Path) -> anyhow::Result<(Started, Duration)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let file = folder.join("anomalyzer.toml");
    let plugins = super::plugin_folder();
    std::fs::write(
        &file,
        format!(
            "data_dir = '{0}/data'\n[api]\nlisten = '127.0.0.1:{port}'\n[plugins]\nfolder = '{1}'\ncache = '{0}/compiled'\n",
            folder.display(),
            plugins.display()
        ),
    )?;
    let began = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_anomalyzer"))
        .args(["serve", "--config"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut started = Started(child);
    let client = anomalyzer_common::http_client::client(Duration::from_secs(2))?;
    loop {
        if let Ok(answer) = client
            .get(format!("http://127.0.0.1:{port}/health"))
            .send()
            .await
            && answer.status().is_success()
        {
            return Ok((started, began.elapsed()));
        }
        if let Some(status) = started.0.try_wait()? {
            anyhow::bail!("`serve` ended with {status}");
        }
        anyhow::ensure!(
            began.elapsed() < Duration::from_secs(120),
            "`serve` was not ready after two minutes"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
