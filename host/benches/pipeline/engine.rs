//! Measures the samples per second of the engine on a real Kafka, with `zscore` on 1,000 series and
//! 500 samples per message. The plain consumer reads the same topic in the same run, in alternate
//! turns.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anomalyzer_bus::Bus;
use anomalyzer_bus_kafka::{KafkaBus, KafkaConfig, TopicNames};
use anomalyzer_detect::{Engine, IncidentConfig, IncidentCorrelator, IncidentLog};
use anomalyzer_domain::{DetectorConfig, Labels, MetricBatch, Sample, Series, Topic, testing};
use anomalyzer_plugin_host::{PluginConfig, Plugins};
use tokio_util::sync::CancellationToken;

const SIGNAL: &str = "latency";
const SERIES: usize = 1000;
const PER_MESSAGE: usize = 500;
const ROUNDS: usize = 3;

/// Distribution of the 500 samples of a message over series.
#[derive(Clone, Copy)]
enum Shape {
    /// One sample of each of 500 series, as in a scrape.
    Scrape { messages: usize },
    /// 500 samples of one series, as in a catch-up.
    CatchUp { messages: usize },
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Scrape { .. } => "500 series, one sample each",
            Self::CatchUp { .. } => "one series, 500 samples",
        }
    }

    fn messages(self) -> usize {
        match self {
            Self::Scrape { messages } | Self::CatchUp { messages } => messages,
        }
    }

    fn batch(self, message: usize, random: &mut fastrand::Rng) -> MetricBatch {
        let labels = |id: usize| {
            let pod = format!("shop-6d4b75cb6d-{id:05}");
            Labels::new([
                ("__name__", SIGNAL),
                ("namespace", "shop"),
                ("pod", &pod),
                ("path", "/checkout"),
            ])
        };
        let mut sample = |at| Sample {
            at,
            value: 100.0 + random.f64() + random.f64() + random.f64(),
        };
        let series = match self {
            Self::Scrape { .. } => {
                let at = 1_000 * (1 + message * PER_MESSAGE / SERIES) as i64;
                let first = message * PER_MESSAGE % SERIES;
                (first..first + PER_MESSAGE)
                    .map(|id| Series {
                        labels: labels(id),
                        samples: vec![sample(at)],
                    })
                    .collect()
            }
            Self::CatchUp { .. } => {
                let first = (message / SERIES * PER_MESSAGE) as i64;
                let samples = (first..first + PER_MESSAGE as i64)
                    .map(|at| sample(1_000 * (1 + at)))
                    .collect();
                vec![Series {
                    labels: labels(message % SERIES),
                    samples,
                }]
            }
        };
        MetricBatch {
            target: Some(testing::web()),
            observed_at: series_end(&series),
            coverage: testing::coverage(1, 1),
            series,
            ..testing::empty_batch(SIGNAL)
        }
    }
}

fn series_end(series: &[Series]) -> i64 {
    series
        .iter()
        .flat_map(|series| &series.samples)
        .map(|sample| sample.at)
        .max()
        .unwrap_or_default()
}

pub async fn measure(brokers: &str) -> anyhow::Result<()> {
    println!(
        "\nthe engine from Kafka: zscore, {SERIES} series, messages of {PER_MESSAGE} samples; best of {ROUNDS}, in turn"
    );
    for shape in [
        Shape::Scrape { messages: 8_000 },
        Shape::CatchUp { messages: 20_000 },
    ] {
        let mark = std::process::id();
        let suffix = format!("{mark}-{}", shape.messages());
        let topics = TopicNames {
            metrics: format!("bench-metrics-{suffix}"),
            incidents: format!("bench-incidents-{suffix}"),
            solutions: format!("bench-solutions-{suffix}"),
            decisions: format!("bench-decisions-{suffix}"),
        };
        let metrics = topics.metrics.clone();
        let config = KafkaConfig {
            brokers: brokers.to_owned(),
            topics,
            partitions: 1,
            ..KafkaConfig::default()
        };
        let bus: Arc<dyn Bus> = Arc::new(KafkaBus::connect(config).await?);
        let mut random = fastrand::Rng::with_seed(7);
        let mut bytes = 0;
        for message in 0..shape.messages() {
            let record = anomalyzer_wire::metrics::encode(&shape.batch(message, &mut random));
            bytes += record.size();
            bus.publish(Topic::Metrics, record).await?;
        }
        bus.drain(Duration::from_secs(60)).await?;
        let samples = (shape.messages() * PER_MESSAGE) as u64;
        let (mut ours, mut plain) = (Duration::MAX, Duration::MAX);
        for round in 0..ROUNDS {
            let (brokers, topic) = (brokers.to_owned(), metrics.clone());
            let group = format!("bench-plain-{mark}-{round}");
            let took = tokio::task::spawn_blocking(move || {
                super::consumer::read(&brokers, &topic, &group, samples)
            });
            plain = plain.min(took.await??);
            ours = ours.min(engine(&bus, &format!("bench-engine-{mark}-{round}"), samples).await?);
        }
        let rate = |took: Duration| samples as f64 / took.as_secs_f64() / 1e6;
        println!(
            "  {}, {} bytes a sample: engine {:.2} M samples/s, plain consumer {:.2} M samples/s, ratio {:.2} (aim 0.5)",
            shape.name(),
            bytes as u64 / samples,
            rate(ours),
            rate(plain),
            rate(ours) / rate(plain)
        );
    }
    Ok(())
}

/// Returns the time that the engine takes from the first samples to the last.
async fn engine(bus: &Arc<dyn Bus>, group: &str, samples: u64) -> anyhow::Result<Duration> {
    let plugins = Plugins::load(PluginConfig {
        folder: super::plugin_folder(),
        ..PluginConfig::default()
    })?;
    let settings = serde_json::json!({"spike": 4, "drop": 4});
    let settings = settings.as_object().cloned().unwrap_or_default();
    let detector = DetectorConfig {
        name: "zscore".to_owned(),
        settings,
    };
    let status = Arc::new(Mutex::default());
    let book = IncidentCorrelator::new(IncidentConfig::default(), IncidentLog::default());
    let minute = Duration::from_secs(60);
    let engine = Engine::new(
        Arc::clone(bus),
        plugins,
        vec![],
        vec![detector],
        book,
        minute,
    )
    .with_status(Arc::clone(&status));
    let shutdown = CancellationToken::new();
    let group = group.to_owned();
    let stop = shutdown.clone();
    let running = tokio::spawn(async move { engine.run(&group, stop).await });
    let seen = || {
        let status: std::collections::BTreeMap<String, anomalyzer_detect::DetectStatus> =
            status.lock().clone();
        status.get(SIGNAL).map_or(0, |status| status.samples)
    };
    let (mut start, deadline) = (None, Instant::now() + Duration::from_secs(300));
    let took = loop {
        let now = seen();
        // The measurement starts after the first frame, and does not count that frame's samples.
        if now > 0 && start.is_none() {
            start = Some((Instant::now(), now));
        }
        if now >= samples {
            let (began, before) = start.unwrap_or((Instant::now(), 0));
            break began
                .elapsed()
                .mul_f64(samples as f64 / (samples - before).max(1) as f64);
        }
        anyhow::ensure!(
            Instant::now() < deadline && !running.is_finished(),
            "the engine stopped at {now} of {samples}"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    shutdown.cancel();
    running.await??;
    Ok(took)
}
