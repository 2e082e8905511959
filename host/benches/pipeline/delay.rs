//! Measures the delay from the arrival of an anomalous sample to the start of the resulting
//! operation. Runs the whole of `serve` in one process, with the rules as the analyst, 1,000 series
//! and real process groups.

use anyhow::Context;
use std::time::Duration;

use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{
    Labels, MetricBatch, Operation, Sample, Series, Target, Topic, solutions, testing,
};
use anomalyzer_history::{Filter, Order, Page};
use anomalyzer_service::{Service, config};
use tokio_util::sync::CancellationToken;

/// Number of process groups. Each has one series of traffic and four of latency.
const GROUPS: usize = 200;
const PATHS: [&str; 4] = ["/", "/search", "/checkout", "/account"];
/// Number of normal samples per series before the anomalies.
const WARM: i64 = 40;

#[expect(clippy::too_many_lines, reason = "one scenario in order")]
pub async fn measure() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = config::parse("bench.toml".as_ref(), &text(folder.path()))?;
    let shutdown = CancellationToken::new();
    let running = Service::builder(config)
        .start(shutdown.clone())
        .await?
        .context("told to stop")?;
    for past in (1..=WARM).rev() {
        tick(&running, now_ms() - past * 1_000, |_| false).await?;
    }
    let warm = |least: u64| {
        running
            .detection()
            .values()
            .all(|signal| signal.samples >= least)
    };
    poll("the detectors to see an ordinary day", || {
        warm(WARM as u64 * GROUPS as u64)
    })
    .await?;

    let mut ill = vec![None; GROUPS];
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut trials = tokio::time::interval(Duration::from_millis(100));
    let mut next = 0;
    while next < GROUPS {
        tokio::select! {
            _ = ticks.tick() => tick(&running, now_ms(), |group| ill[group].is_some()).await?,
            _ = trials.tick() => {
                let at = now_ms();
                show(&running, next, at, 5.0).await?;
                ill[next] = Some(at);
                next += 1;
            }
        }
    }
    let history = running
        .history()
        .ok_or_else(|| anyhow::anyhow!("there is no history"))?
        .clone();
    let mut delays = Vec::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while delays.len() < GROUPS && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let filter = Filter {
            solution: Some(solutions::SCALE_UP.to_owned()),
            ..Filter::default()
        };
        let (decisions, _) = history
            .decisions(
                &filter,
                Page {
                    limit: 1000,
                    order: Order::Oldest,
                    ..Page::default()
                },
            )
            .await?;
        delays = decisions
            .iter()
            .filter_map(|decision| {
                let group: usize = decision
                    .target
                    .as_ref()?
                    .name
                    .strip_prefix("shop-")?
                    .parse()
                    .ok()?;
                let scale = decision
                    .operations
                    .iter()
                    .find(|record| matches!(record.operation, Operation::Scale { .. }))?;
                Some(scale.asked_at - ill[group]?)
            })
            .collect();
    }
    delays.sort_unstable();
    let quantile = |q: f64| {
        delays
            .get(((delays.len() as f64 * q).ceil() as usize).saturating_sub(1))
            .copied()
            .unwrap_or(-1)
    };
    println!(
        "\nfrom a sample's arrival to the start of the operation, {} series, {} of {GROUPS} scaled: p50 {} ms, p90 {} ms, \
         p99 {} ms (aim 100), most {} ms",
        GROUPS * (1 + PATHS.len()),
        delays.len(),
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantile(1.0)
    );
    shutdown.cancel();
    running.ended().await;
    // An analyst that is asked between the two batches of a group sees one signal, and has no
    // reason to scale yet. A tenth of the groups may therefore remain unscaled.
    anyhow::ensure!(
        delays.len() >= GROUPS * 9 / 10,
        "{} of {GROUPS} groups were scaled",
        delays.len()
    );
    Ok(())
}

/// Publishes one second of samples for every group except those selected by `but`.
async fn tick(running: &Service, at: i64, but: impl Fn(usize) -> bool) -> anyhow::Result<()> {
    for group in (0..GROUPS).filter(|group| !but(*group)) {
        show(running, group, at, 1.0).await?;
    }
    Ok(())
}

/// Publishes one sample of each series of a group. `factor` scales the usual values.
async fn show(running: &Service, group: usize, at: i64, factor: f64) -> anyhow::Result<()> {
    let name = format!("shop-{group}");
    let series = |labels: Labels, usual: f64| Series {
        labels,
        samples: vec![Sample {
            at,
            value: usual * factor * (0.95 + 0.1 * fastrand::f64()),
        }],
    };
    let traffic = vec![series(
        Labels::new([("__name__", "traffic"), ("group", &name)]),
        40.0,
    )];
    let of_path = |path| Labels::new([("__name__", "latency"), ("group", &name), ("path", path)]);
    let latency = PATHS.map(|path| series(of_path(path), 0.1)).to_vec();
    for (signal, series) in [("traffic", traffic), ("latency", latency)] {
        let batch = MetricBatch {
            target: Some(Target::new("", "Process", &name)),
            observed_at: at,
            coverage: testing::coverage(1, 1),
            series,
            ..testing::empty_batch(signal)
        };
        running
            .bus()
            .publish(Topic::Metrics, anomalyzer_wire::metrics::encode(&batch))
            .await?;
    }
    Ok(())
}

async fn poll(what: &str, mut there: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !there() {
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "waited 60 s for {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn text(folder: &std::path::Path) -> String {
    let mut text = format!(
        r#"
data_dir = '{}'
silent_after = "1h"
[api]
listen = "127.0.0.1:0"
[plugins]
folder = '{}'
[collect]
interval = "1h"
[[collect.scrape]]
job = "none"
targets = {{ group = "shop-0" }}
[incidents]
confirm_after = "0s"
[guard]
cooldown = "0s"
most_in_namespace = 1000
most_in_cluster = 1000
[verify]
settle = "1h"
"#,
        folder.display(),
        super::plugin_folder().display()
    );
    for (signal, meaning) in [("traffic", "traffic"), ("latency", "latency")] {
        text += &format!(
            r#"
[[signal]]
name = "{signal}"
meaning = "{meaning}"
unit = ""
target = {{ kind = "Process", name = "shop-0" }}
source = {{ gauge = {{ of = "none" }} }}
detectors = [{{ name = "zscore", settings = {{ spike = 8.0, drop = 8.0, min_samples = 16 }} }}]
"#
        );
    }
    for group in 0..GROUPS {
        text += &format!(
            "[local.groups.shop-{group}]\ncommand = ['sleep', '86400']\nfirst_port = {}\nstop_timeout = '1s'\n",
            20_000 + 10 * group
        );
    }
    text
}
